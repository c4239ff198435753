#include "cli/embed.h"

/* .incbin reads the file when this unit is assembled (mk/embed.mk makes it depend on the file). */
__asm__(".section .rodata\n"
        ".balign 16\n"
        "embed_sitecustomize_begin: .incbin \"src/cli/launcher/sitecustomize.py\"\n"
        "embed_sitecustomize_end: .byte 0\n"
        ".previous\n");
extern const char embed_sitecustomize_begin[], embed_sitecustomize_end[];

struct str embed_sitecustomize(void)
{
    return str_make(embed_sitecustomize_begin, (size_t)(embed_sitecustomize_end - embed_sitecustomize_begin));
}
