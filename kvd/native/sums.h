/* The checksums of a row on disk. */
#pragma once
#include "core.h"

typedef struct {
    int64_t head, checksum, seal; /* of the entry without its value, of the entry, of the row's other columns */
} Sums;

Sums sums_of(const Row *row);
/* Call once before `sums_of`. */
void make_crc_table(void);
