#include "wire/arrow_int.h"

/* -- writing ------------------------------------------------------------------------------------------------------ */
void fb_align(struct buf *b, size_t align)
{
    buf_fill(b, 0, (align - b->n % align) % align);
}

static void patch(struct buf *b, size_t at, uint64_t v, size_t size)
{
    if (!b->bad)
        memcpy(b->p + at, &v, size); /* little-endian hosts only, as is all of column/ */
}

size_t fb_table(struct buf *b, struct fb_slot *slots, int n)
{
    static const uint8_t sizes[] = {4, 8, 2, 1}; /* the table's head takes four bytes of eight */
    size_t end = 4, vtable_n = 4 + 2 * (size_t)n, offset[16] = {0};
    for (size_t s = 0; s < sizeof sizes; s++) {
        for (int i = 0; i < n; i++) {
            if (slots[i].size != sizes[s])
                continue;
            end = (end + sizes[s] - 1) / sizes[s] * sizes[s];
            offset[i] = end;
            end += sizes[s];
        }
    }
    fb_align(b, 2);
    size_t table = (b->n + vtable_n + 7) / 8 * 8;
    buf_fill(b, 0, table - vtable_n - b->n);
    size_t vtable = b->n;
    buf_u16le(b, (uint16_t)vtable_n);
    buf_u16le(b, (uint16_t)end);
    for (int i = 0; i < n; i++)
        buf_u16le(b, (uint16_t)offset[i]);
    buf_fill(b, 0, end);
    patch(b, table, table - vtable, 4);
    for (int i = 0; i < n; i++) {
        slots[i].at = table + offset[i];
        if (slots[i].size)
            patch(b, slots[i].at, slots[i].value, slots[i].size);
    }
    return table;
}

void fb_point(struct buf *b, size_t at, size_t to)
{
    patch(b, at, to - at, 4);
}

size_t fb_string(struct buf *b, struct str s)
{
    fb_align(b, 4);
    size_t at = b->n;
    buf_u32le(b, (uint32_t)s.n);
    buf_str(b, s);
    buf_u8(b, 0);
    return at;
}

size_t fb_vector(struct buf *b, size_t n, size_t elem_align)
{
    fb_align(b, 4);
    while ((b->n + 4) % elem_align && !b->bad)
        buf_u32le(b, 0);
    size_t at = b->n;
    buf_u32le(b, (uint32_t)n);
    return at;
}

/* -- reading ------------------------------------------------------------------------------------------------------ */
static uint64_t get(struct fb_in *in, size_t at, size_t size)
{
    uint64_t v = 0;
    if (at > in->n || size > in->n - at) {
        in->bad = true;
        return 0;
    }
    memcpy(&v, in->p + at, size);
    return v;
}

static struct fb_at table_at(struct fb_in *in, size_t at)
{
    struct fb_at t = {at, 0, 0};
    int32_t back = (int32_t)get(in, at, 4);
    int64_t vtable = (int64_t)at - back;
    if (vtable < 0 || (size_t)vtable > in->n) {
        in->bad = true;
        return t;
    }
    t.vtable = (size_t)vtable;
    t.vtable_n = (uint32_t)get(in, t.vtable, 2);
    if (t.vtable_n < 4 || t.vtable_n > in->n - t.vtable) {
        in->bad = true;
        t.vtable_n = 0;
    }
    return t;
}

/* Where the reference at `at` leads to. */
static size_t follow(struct fb_in *in, size_t at)
{
    size_t to = at + get(in, at, 4);
    if (to > in->n)
        in->bad = true;
    return in->bad ? 0 : to;
}

struct fb_at fb_root(struct fb_in *in)
{
    return table_at(in, follow(in, 0));
}

size_t fb_field(struct fb_in *in, struct fb_at t, int index, size_t size)
{
    uint32_t slot = 4 + 2 * (uint32_t)index;
    if (in->bad || slot + 2 > t.vtable_n)
        return 0;
    uint64_t offset = get(in, t.vtable + slot, 2);
    if (offset == 0)
        return 0;
    size_t at = t.table + offset;
    if (at > in->n || size > in->n - at) {
        in->bad = true;
        return 0;
    }
    return at;
}

uint64_t fb_uint(struct fb_in *in, struct fb_at t, int index, size_t size, uint64_t otherwise)
{
    size_t at = fb_field(in, t, index, size);
    return at ? get(in, at, size) : otherwise;
}

bool fb_child(struct fb_in *in, struct fb_at t, int index, struct fb_at *out)
{
    size_t at = fb_field(in, t, index, 4);
    if (!at)
        return false;
    *out = table_at(in, follow(in, at));
    return !in->bad;
}

struct str fb_text(struct fb_in *in, struct fb_at t, int index)
{
    uint32_t n;
    size_t at = fb_elements(in, t, index, 1, &n);
    return n ? str_make(in->p + at, n) : str_make("", 0);
}

size_t fb_elements(struct fb_in *in, struct fb_at t, int index, size_t elem, uint32_t *n)
{
    *n = 0;
    size_t at = fb_field(in, t, index, 4);
    if (!at)
        return 0;
    at = follow(in, at);
    uint64_t count = get(in, at, 4);
    if (in->bad || count > (in->n - at - 4) / elem) {
        in->bad = true;
        return 0;
    }
    *n = (uint32_t)count;
    return at + 4;
}

struct fb_at fb_element(struct fb_in *in, size_t first, uint32_t i)
{
    return table_at(in, follow(in, first + 4 * (size_t)i));
}
