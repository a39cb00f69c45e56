/* The numbers of rows by their ids, many at once: what is needed next is already on its way from
   memory while the ids before are compared. */

#include <string.h>

#include "levels.h"

#if defined(__GNUC__)
#define AHEAD(address) __builtin_prefetch(address)
#else
#define AHEAD(address) (void)(address)
#endif
#define TOGETHER 16

static size_t place_of(const struct crag_rows *rows, const uint8_t *id) {
    uint64_t head;
    memcpy(&head, id, sizeof head);
    return (size_t)(head >> rows->shift);
}

/* Another thread may write to `starts`, so what was compared must be what is used. */
static size_t read_once(const uint32_t *from) {
    return *(const volatile uint32_t *)from;
}

static uint32_t number_of(const struct crag_rows *rows, const uint8_t *id) {
    size_t place = place_of(rows, id);
    size_t end = read_once(rows->starts + place + 1);
    if (end > rows->rows) end = rows->rows;
    for (size_t at = read_once(rows->starts + place); at < end; at++)
        if (!memcmp(rows->ids + CRAG_ID * at, id, CRAG_ID)) return rows->numbers[at];
    return CRAG_UNKNOWN;
}

void crag_find(const struct crag_rows *rows, const uint8_t *asked, size_t count, uint32_t *out) {
    for (size_t first = 0; first < count; first += TOGETHER) {
        size_t last = first + TOGETHER < count ? first + TOGETHER : count;
        for (size_t i = first; i < last; i++) AHEAD(rows->starts + place_of(rows, asked + CRAG_ID * i));
        for (size_t i = first; i < last; i++) {
            size_t at = read_once(rows->starts + place_of(rows, asked + CRAG_ID * i));
            if (at < rows->rows) {
                AHEAD(rows->ids + CRAG_ID * at);
                AHEAD(rows->numbers + at);
            }
        }
        for (size_t i = first; i < last; i++) out[i] = number_of(rows, asked + CRAG_ID * i);
    }
}
