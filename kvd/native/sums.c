/* Checksums. They are defined in storage/files/checksum.py. */
#include "sums.h"

static const uint64_t PRIME = 4294967291u;
static uint32_t crc_table[8][256];

void make_crc_table(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
        crc_table[0][byte] = crc;
    }
    for (int by = 1; by < 8; by++)
        for (int byte = 0; byte < 256; byte++)
            crc_table[by][byte] = crc_table[by - 1][byte] >> 8 ^ crc_table[0][crc_table[by - 1][byte] & 255];
}

/* The CRC-32 of zlib, eight bytes at a time (Kounavis and Berry, 2005). */
static uint32_t crc32(uint32_t crc, const unsigned char *bytes, size_t size) {
    crc = ~crc;
    for (; size >= 8; size -= 8, bytes += 8) {
        uint32_t low =
            crc ^ ((uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24);
        crc = crc_table[7][low & 255] ^ crc_table[6][low >> 8 & 255] ^ crc_table[5][low >> 16 & 255] ^
              crc_table[4][low >> 24] ^ crc_table[3][bytes[4]] ^ crc_table[2][bytes[5]] ^ crc_table[1][bytes[6]] ^
              crc_table[0][bytes[7]];
    }
    while (size--) crc = crc >> 8 ^ crc_table[0][(crc ^ *bytes++) & 255];
    return ~crc;
}

static uint32_t crc_of(uint32_t begin, PyObject *bytes) {
    if (bytes == Py_None) return begin;
    return crc32(begin, (const unsigned char *)PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
}

static int64_t modulo(__int128 sum) { return (int64_t)((sum % PRIME + PRIME) % PRIME); }

Sums sums_of(const Row *row) {
    Sums sums;
    __int128 head = (__int128)row->revision * 3 + (__int128)row->created * 5 + (__int128)row->kind * 11;
    head += (__int128)(row->expires == STAYS ? 0 : row->expires) * 7 + (__int128)PyBytes_GET_SIZE(row->key) * 13;
    sums.head = crc_of((uint32_t)modulo(head), row->key);
    sums.checksum = crc_of((uint32_t)sums.head, row->value);
    sums.seal = modulo((__int128)sums.checksum * 3 + (__int128)row->previous * 5 + (__int128)row->time * 7);
    return sums;
}
