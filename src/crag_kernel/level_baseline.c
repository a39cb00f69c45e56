/* The arithmetic for any processor of the architecture. */

#include <stdint.h>
#include <stddef.h>
#include <string.h>

/* float32 to float16, to nearest, ties to even, with subnormal values and overflow to infinity. */
static uint16_t half_of(float value) {
    uint32_t bits, sign;
    memcpy(&bits, &value, sizeof bits);
    sign = (bits >> 16) & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | ((bits >> 13) & 0x3ffu));
    if (bits >= 0x47800000u) return (uint16_t)(sign | 0x7c00u);
    if (bits < 0x38800000u) {
        /* below 2^-14 a step is 2^-24, which is the last bit of numbers from 0.5 to 1 */
        float small;
        memcpy(&small, &bits, sizeof small);
        small += 0.5f;
        memcpy(&bits, &small, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    return (uint16_t)(sign | ((bits - 0x38000000u + 0xfffu + ((bits >> 13) & 1u)) >> 13));
}

static void to_half(const float *values, uint16_t *out, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] = half_of(values[i]);
}

/* float16 to float32, exact. */
static float from_half_bits(uint16_t half) {
    uint32_t magnitude = (uint32_t)(half & 0x7fffu) << 13, sign = (uint32_t)(half & 0x8000u) << 16;
    float value, scale = 0x1p112f;
    if (magnitude >= 0x0f800000u) {
        magnitude |= 0x7f800000u;
        memcpy(&value, &magnitude, sizeof value);
    } else {
        /* the exponents differ by 112; the product makes subnormal numbers normal */
        memcpy(&value, &magnitude, sizeof value);
        value *= scale;
    }
    memcpy(&magnitude, &value, sizeof magnitude);
    magnitude |= sign;
    memcpy(&value, &magnitude, sizeof value);
    return value;
}

static void from_half(const uint16_t *values, float *out, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] = from_half_bits(values[i]);
}

#define LEVEL baseline
#define LEVEL_NAME "baseline"
#include "arithmetic.h"
