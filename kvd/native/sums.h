/* What protects a row on disk. */
#pragma once
#include "core.h"

typedef struct {
    int64_t head, checksum, seal; /* of the row without its value, of its entry, of the rest of a journal row */
} Sums;

Sums sums_of(const Row *row);
/* Once, before the first. */
void make_crc_table(void);
