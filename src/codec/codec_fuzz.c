/* The first byte picks the codec, the rest is its input: any bytes give an answer within the bound, never a crash. */
#include "codec/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf out = {0};
    if (n < 1)
        return 0;
    enum err e = codec_decompress(data[0] % (CODEC_COUNT + 1), str_make(data + 1, n - 1), 1 << 20, &out, NULL);
    if (e == ERR_OK && out.n > 1 << 20)
        __builtin_trap();
    buf_free(&out);
    return 0;
}
