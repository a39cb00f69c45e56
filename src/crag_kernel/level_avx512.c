/* The arithmetic for x86-64 with AVX-512 F, BW, DQ and VL. */

#include "levels.h"

#ifdef CRAG_X86
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,f16c")
#include <immintrin.h>

static void to_half(const float *values, uint16_t *out, size_t count) {
    size_t i = 0;
    for (; i + 16 <= count; i += 16)
        _mm256_storeu_si256((__m256i *)(out + i),
                            _mm512_cvtps_ph(_mm512_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < count; i++) out[i] = _cvtss_sh(values[i], _MM_FROUND_TO_NEAREST_INT);
}

static void from_half(const uint16_t *values, float *out, size_t count) {
    size_t i = 0;
    for (; i + 16 <= count; i += 16)
        _mm512_storeu_ps(out + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(values + i))));
    for (; i < count; i++) out[i] = _cvtsh_ss(values[i]);
}

#define LEVEL avx512
#define LEVEL_NAME "avx512"
#include "arithmetic.h"
#else
typedef int crag_no_avx512;
#endif
