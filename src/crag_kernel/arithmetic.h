/* The arithmetic of scheme sapr-v1 on float32, as docs/reference/formats.md defines it.

   Included once per instruction set, with LEVEL naming its functions. Sixteen rows are worked on at
   a time, one in each lane of a vector: a permutation then moves whole vectors, and every level of a
   transform is additions of vectors. Each operation is rounded by itself, so the compiler must not
   contract a product and a sum, nor assume that additions are associative. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "levels.h"

#ifdef __FAST_MATH__
#error "crag-kernel cannot be compiled with -ffast-math: its results would not be reproducible"
#endif
#if !defined(__FLT_EVAL_METHOD__) || __FLT_EVAL_METHOD__ != 0
#error "crag-kernel needs float arithmetic that is rounded to float after each operation"
#endif

#define JOIN_(name, level) name##_##level
#define JOIN(name, level) JOIN_(name, level)
#define NAMED(name) JOIN(name, LEVEL)

typedef float lanes __attribute__((vector_size(CRAG_LANES * sizeof(float)), may_alias));
typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t quad_index __attribute__((vector_size(16)));

#if defined(__clang__)
#define PICK(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define PICK(a, b, i, j, k, l) __builtin_shuffle(a, b, (quad_index){i, j, k, l})
#endif

static inline void turn_four(quad in[4], quad out[4]) {
    quad low = PICK(in[0], in[1], 0, 4, 1, 5), high = PICK(in[0], in[1], 2, 6, 3, 7);
    quad lower = PICK(in[2], in[3], 0, 4, 1, 5), higher = PICK(in[2], in[3], 2, 6, 3, 7);
    out[0] = PICK(low, lower, 0, 1, 4, 5);
    out[1] = PICK(low, lower, 2, 3, 6, 7);
    out[2] = PICK(high, higher, 0, 1, 4, 5);
    out[3] = PICK(high, higher, 2, 3, 6, 7);
}

/* Coordinate i of row r goes to lane r of tile[i]. */
static void turn_in(const float *const rows[CRAG_LANES], lanes *tile, size_t dimension) {
    float *flat = (float *)tile;
    size_t whole = dimension & ~(size_t)3;
    for (size_t i = 0; i < whole; i += 4)
        for (size_t r = 0; r < CRAG_LANES; r += 4) {
            quad in[4], out[4];
            for (size_t k = 0; k < 4; k++) in[k] = *(const quad *)(rows[r + k] + i);
            turn_four(in, out);
            for (size_t k = 0; k < 4; k++) *(quad *)(flat + (i + k) * CRAG_LANES + r) = out[k];
        }
    for (size_t i = whole; i < dimension; i++)
        for (size_t r = 0; r < CRAG_LANES; r++) flat[i * CRAG_LANES + r] = rows[r][i];
}

static void turn_out(const lanes *tile, float *const rows[CRAG_LANES], size_t dimension) {
    const float *flat = (const float *)tile;
    size_t whole = dimension & ~(size_t)3;
    for (size_t i = 0; i < whole; i += 4)
        for (size_t r = 0; r < CRAG_LANES; r += 4) {
            quad in[4], out[4];
            for (size_t k = 0; k < 4; k++) in[k] = *(const quad *)(flat + (i + k) * CRAG_LANES + r);
            turn_four(in, out);
            for (size_t k = 0; k < 4; k++) *(quad *)(rows[r + k] + i) = out[k];
        }
    for (size_t i = whole; i < dimension; i++)
        for (size_t r = 0; r < CRAG_LANES; r++) rows[r][i] = flat[i * CRAG_LANES + r];
}

#define PAIR(a, b)           \
    do {                     \
        lanes sum = a + b;   \
        b = a - b;           \
        a = sum;             \
    } while (0)
#define TWO_LEVELS(a, b, c, e) \
    do {                       \
        PAIR(a, b);            \
        PAIR(c, e);            \
        PAIR(a, c);            \
        PAIR(b, e);            \
    } while (0)
#define THREE_LEVELS(v)                       \
    do {                                      \
        TWO_LEVELS(v[0], v[1], v[2], v[3]);   \
        TWO_LEVELS(v[4], v[5], v[6], v[7]);   \
        for (int k = 0; k < 4; k++) PAIR(v[k], v[k + 4]); \
    } while (0)

/* The levels of all blocks from `half` on. A level's blocks come first, so that the coordinates that
   have it are the first `dimension` rounded down to a multiple of its span. */
static void levels_from(lanes *x, size_t dimension, size_t half) {
    for (; 2 * half <= dimension; half *= 8) {
        size_t base = 0, eight = dimension & ~(8 * half - 1);
        for (; base < eight; base += 8 * half)
            for (size_t i = base; i < base + half; i++) {
                lanes v[8];
                for (int k = 0; k < 8; k++) v[k] = x[i + k * half];
                THREE_LEVELS(v);
                for (int k = 0; k < 8; k++) x[i + k * half] = v[k];
            }
        if (dimension & (4 * half)) {
            for (size_t i = base; i < base + half; i++) {
                lanes v[4];
                for (int k = 0; k < 4; k++) v[k] = x[i + k * half];
                TWO_LEVELS(v[0], v[1], v[2], v[3]);
                for (int k = 0; k < 4; k++) x[i + k * half] = v[k];
            }
            base += 4 * half;
        }
        if (dimension & (2 * half))
            for (size_t i = base; i < base + half; i++) PAIR(x[i], x[i + half]);
    }
}

/* Permute, multiply by the signed factors, and the first three levels: from x to y. */
static void first_levels(const struct crag_plan *plan, const uint16_t *order, const float *factor,
                         const lanes *x, lanes *y) {
    size_t i = 0, eight = plan->dimension & ~(size_t)7;
    for (; i < eight; i += 8) {
        lanes v[8];
        for (int k = 0; k < 8; k++) v[k] = x[order[i + k]] * factor[i + k];
        THREE_LEVELS(v);
        for (int k = 0; k < 8; k++) y[i + k] = v[k];
    }
    for (size_t k = i; k < plan->dimension; k++) y[k] = x[order[k]] * factor[k];
    if (plan->dimension & 4) {
        TWO_LEVELS(y[i], y[i + 1], y[i + 2], y[i + 3]);
        i += 4;
    }
    if (plan->dimension & 2) PAIR(y[i], y[i + 1]);
}

/* Rotate the tile `work`, whose second half is free; returns where the result is. */
static lanes *apply(const struct crag_plan *plan, lanes *work) {
    lanes *x = work, *y = work + plan->dimension;
    for (size_t round = 0; round < CRAG_ROUNDS; round++) {
        size_t start = round * plan->dimension;
        first_levels(plan, plan->orders + start, plan->factors + start, x, y);
        levels_from(y, plan->dimension, 8);
        lanes *free = x;
        x = y;
        y = free;
    }
    return x;
}

static lanes *undo(const struct crag_plan *plan, lanes *work) {
    lanes *x = work, *y = work + plan->dimension;
    for (size_t round = CRAG_ROUNDS; round-- > 0;) {
        const uint16_t *order = plan->orders + round * plan->dimension;
        const float *factor = plan->factors + round * plan->dimension;
        levels_from(x, plan->dimension, 1);
        for (size_t i = 0; i < plan->dimension; i++) y[order[i]] = x[i] * factor[i];
        lanes *free = x;
        x = y;
        y = free;
    }
    return x;
}

/* Rows of the batch from `first` on; a lane without a row repeats the last one. */
static size_t rows_from(const float *vectors, size_t count, size_t dimension, size_t first,
                        const float *rows[CRAG_LANES]) {
    size_t held = count - first < CRAG_LANES ? count - first : CRAG_LANES;
    for (size_t r = 0; r < CRAG_LANES; r++)
        rows[r] = vectors + (first + (r < held ? r : held - 1)) * dimension;
    return held;
}

static void rotate_all(const struct crag_plan *plan, const float *vectors, float *out, size_t count,
                       void *memory, lanes *(*step)(const struct crag_plan *, lanes *)) {
    for (size_t first = 0; first < count; first += CRAG_LANES) {
        const float *rows[CRAG_LANES];
        float *results[CRAG_LANES];
        rows_from(vectors, count, plan->dimension, first, rows);
        for (size_t r = 0; r < CRAG_LANES; r++) results[r] = out + (rows[r] - vectors);
        turn_in(rows, memory, plan->dimension);
        turn_out(step(plan, memory), results, plan->dimension);
    }
}

static void forward(const struct crag_plan *plan, const float *vectors, float *out, size_t count,
                    void *memory) {
    rotate_all(plan, vectors, out, count, memory, apply);
}

static void backward(const struct crag_plan *plan, const float *vectors, float *out, size_t count,
                     void *memory) {
    rotate_all(plan, vectors, out, count, memory, undo);
}

/* The row's d + 2 normal values, and the float32 factor that brings them into the ball. */
static float draw(const struct crag_noise *noise, const uint16_t *words, size_t dimension,
                  int16_t *normals) {
    int64_t squares = 0;
    for (size_t i = 0; i < dimension + CRAG_EXTRA; i++) normals[i] = noise->table[words[i]];
    for (size_t i = 0; i < dimension + CRAG_EXTRA; i++)
        squares += (int32_t)normals[i] * (int32_t)normals[i];
    return (float)(noise->radius / sqrt((double)(squares > 1 ? squares : 1)));
}

static void encrypt(const struct crag_plan *plan, const struct crag_noise *noise,
                    const float *vectors, void *out, int halved, size_t count, void *memory) {
    size_t dimension = plan->dimension;
    float scale = noise->scale;
    lanes *work = memory;
    int16_t *normals = (int16_t *)(work + 2 * dimension);
    for (size_t first = 0; first < count; first += CRAG_LANES) {
        const float *rows[CRAG_LANES];
        float *turned[CRAG_LANES];
        size_t held = rows_from(vectors, count, dimension, first, rows);
        turn_in(rows, work, dimension);
        lanes *tile = apply(plan, work);
        float *flat = (float *)(tile == work ? work + dimension : work);
        for (size_t r = 0; r < CRAG_LANES; r++) turned[r] = flat + r * dimension;
        turn_out(tile, turned, dimension);
        for (size_t r = 0; r < held; r++) {
            float *row = turned[r];
            if (noise->words) {
                float factor = draw(noise, noise->words + (first + r) * noise->width, dimension, normals);
                for (size_t i = 0; i < dimension; i++) {
                    float scaled = row[i] * scale, drawn = factor * (float)normals[i];
                    row[i] = scaled + drawn;
                }
            } else {
                for (size_t i = 0; i < dimension; i++) row[i] *= scale;
            }
            size_t start = (first + r) * dimension;
            if (halved)
                to_half(row, (uint16_t *)out + start, dimension);
            else
                memcpy((float *)out + start, row, dimension * sizeof(float));
        }
    }
}

/* Row `number` of `values` without noise and scale. */
static void denoise_row(const struct crag_noise *noise, const void *values, int halved, size_t number,
                        float *row, size_t dimension, int16_t *normals) {
    float scale = noise->scale;
    if (halved)
        from_half((const uint16_t *)values + number * dimension, row, dimension);
    else
        memmove(row, (const float *)values + number * dimension, dimension * sizeof(float));
    if (noise->words) {
        float factor = draw(noise, noise->words + number * noise->width, dimension, normals);
        for (size_t i = 0; i < dimension; i++) {
            float drawn = factor * (float)normals[i];
            row[i] = row[i] - drawn;
        }
    }
    if (scale != 1.0f)
        for (size_t i = 0; i < dimension; i++) row[i] = row[i] / scale;
}

static void denoise(const struct crag_noise *noise, const void *values, int halved, float *out,
                    size_t count, size_t dimension, void *memory) {
    for (size_t r = 0; r < count; r++)
        denoise_row(noise, values, halved, r, out + r * dimension, dimension, memory);
}

/* The sum of products in CRAG_LANES sums, then those by halves: an order that numpy can follow. */
static float inner_product(const float *one, const float *other, size_t dimension) {
    float sums[CRAG_LANES] = {0};
    size_t whole = dimension - dimension % CRAG_LANES;
    for (size_t i = 0; i < whole; i += CRAG_LANES)
        for (size_t j = 0; j < CRAG_LANES; j++) {
            float product = one[i + j] * other[i + j];
            sums[j] = sums[j] + product;
        }
    for (size_t i = whole; i < dimension; i++) {
        float product = one[i] * other[i];
        sums[i - whole] = sums[i - whole] + product;
    }
    for (size_t half = CRAG_LANES / 2; half; half /= 2)
        for (size_t j = 0; j < half; j++) sums[j] = sums[j] + sums[j + half];
    return sums[0];
}

static void scores(const struct crag_noise *noise, const void *values, int halved, const float *query,
                   float *out, size_t count, size_t dimension, void *memory) {
    float *row = memory;
    int16_t *normals = (int16_t *)(row + dimension);
    for (size_t r = 0; r < count; r++) {
        denoise_row(noise, values, halved, r, row, dimension, normals);
        out[r] = inner_product(row, query, dimension);
    }
}

const struct crag_level NAMED(crag_level) = {LEVEL_NAME, forward, backward,
                                              encrypt,    denoise, scores};
