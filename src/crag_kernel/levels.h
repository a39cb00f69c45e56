/* What the arithmetic works on, and the table of functions of one instruction set. */

#ifndef CRAG_LEVELS_H
#define CRAG_LEVELS_H

#include <stddef.h>
#include <stdint.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "crag-kernel is for little-endian machines; crag uses numpy on others"
#endif

/* Goes up with every change of what the module's functions take; crag-core names the one it knows. */
#define CRAG_INTERFACE 2

#define CRAG_LANES 16
#define CRAG_ROUNDS 3
#define CRAG_EXTRA 2
#define CRAG_TABLE 65536
#define CRAG_MAX_DIMENSION 16000
#define CRAG_ID 16
#define CRAG_UNKNOWN UINT32_MAX

/* A rotation: `orders` and `factors` have CRAG_ROUNDS * dimension entries; orders are < dimension. */
struct crag_plan {
    size_t dimension;
    const uint16_t *orders;
    const float *factors;
};

/* Noise: `words` has `width` numbers a row, at least dimension + CRAG_EXTRA; NULL for no noise. */
struct crag_noise {
    const uint16_t *words;
    size_t width;
    const int16_t *table;
    double radius;
    float scale;
};

/* Rows by their ids. An id's first 8 bytes, shifted right by `shift`, are its place; the ids of a
   place lie in `ids` from starts[place] to starts[place + 1], and their rows' numbers likewise. */
struct crag_rows {
    const uint8_t *ids;
    const uint32_t *numbers;
    size_t rows;
    const uint32_t *starts;
    unsigned shift;
};

void crag_find(const struct crag_rows *rows, const uint8_t *asked, size_t count, uint32_t *out);

/* One instruction set. `memory` is aligned to 64 bytes and has crag_memory() bytes. */
struct crag_level {
    const char *name;
    void (*forward)(const struct crag_plan *, const float *, float *, size_t, void *);
    void (*backward)(const struct crag_plan *, const float *, float *, size_t, void *);
    void (*encrypt)(const struct crag_plan *, const struct crag_noise *, const float *, void *, int,
                    size_t, void *);
    void (*denoise)(const struct crag_noise *, const void *, int, float *, size_t, size_t, void *);
    void (*scores)(const struct crag_noise *, const void *, int, const float *, float *, size_t, size_t,
                   void *);
};

/* Two tiles of CRAG_LANES rows, and the normal values of one row. */
static inline size_t crag_memory(size_t dimension) {
    size_t tiles = 2 * dimension * CRAG_LANES * sizeof(float);
    size_t normals = (dimension + CRAG_EXTRA) * sizeof(int16_t);
    return (tiles + normals + 63) & ~(size_t)63;
}

/* Instruction sets beyond the baseline are chosen at run time; only GCC on x86-64 was tried. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CRAG_X86 1
extern const struct crag_level crag_level_avx2, crag_level_avx512;
#endif
extern const struct crag_level crag_level_baseline;

#endif
