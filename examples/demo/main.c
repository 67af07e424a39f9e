// main.c: walks through the exhibits, checks each, and signs the report.
#include "demo.h"
#include "mix.h"
#include "out.h"

extern inline u64 mix(u64 hash, u64 value);

struct exhibit {
    const char *name;
    u64 (*show)(void);
    u64 expected;
};

static const struct exhibit exhibits[] = {
    {"motto", show_motto, 53},
    {"primes", show_primes, 9592},
    {"matrix", show_matrix, 2880067194370816120},
    {"vm", show_vm, 0x6c640e08f514adc3},
    {"words", show_words, 0x3397b962cd35cb06},
    {"deck", show_deck, 0x208fd337e83a5},
    {"life", show_life, 0x70402},
    {"mandelbrot", show_mandel, 0xf182bf07c1cdcfd0},
};

static const u64 expected_seal = 0xea296f8ae3d7f480;
static const u64 expected_digest = 0xe3b40629684b5b7a;

int demo_main(void)
{
    u64 seal = 0;
    u64 native_seal = 0;
    unsigned wrong = 0;

    out_text("The backlto demo\n\n");
    for (unsigned i = 0; i < COUNT_OF(exhibits); i++) {
        const struct exhibit *exhibit = &exhibits[i];
        u64 result = exhibit->show();

        if (result != exhibit->expected) {
            out_format("           ^ %s: expected 0x%llx, found 0x%llx\n", exhibit->name,
                       exhibit->expected, result);
            wrong++;
        }
        seal = mix(seal, result);
        native_seal = mix_native(native_seal, result);
    }

    // The exhibits vouch for their numbers, the digest for every printed byte.
    u64 digest = out_digest();
    int sealed = seal == expected_seal && native_seal == seal && digest == expected_digest;

    out_format("\nchecksum   0x%016llx over %u exhibits, 0x%016llx over the text\n", seal,
               (unsigned)COUNT_OF(exhibits), digest);
    if (wrong != 0)
        out_format("verdict    %u exhibits are wrong\n", wrong);
    else
        out_text(sealed ? "verdict    all as it should be\n"
                        : "verdict    the checksums are wrong\n");
    out_flush();
    return wrong == 0 && sealed ? 0 : 1;
}
