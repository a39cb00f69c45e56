/* The arithmetic for x86-64 with AVX2 and F16C. */

#include "levels.h"

#ifdef CRAG_X86
#pragma GCC target("avx2,f16c")
#include <immintrin.h>

static void to_half(const float *values, uint16_t *out, size_t count) {
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm_storeu_si128((__m128i *)(out + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < count; i++) out[i] = _cvtss_sh(values[i], _MM_FROUND_TO_NEAREST_INT);
}

static void from_half(const uint16_t *values, float *out, size_t count) {
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(values + i))));
    for (; i < count; i++) out[i] = _cvtsh_ss(values[i]);
}

#define LEVEL avx2
#define LEVEL_NAME "avx2"
#include "arithmetic.h"
#else
typedef int crag_no_avx2;
#endif
