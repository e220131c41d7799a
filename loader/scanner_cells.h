/* Cells of columns, taken out of JSON objects. An object of which it is not certain that the engine would make the same
 * of it is left to the engine. The objects are known to be valid; AHEAD bytes behind each can be read. */

enum cell { NO_CELL, BIGINT_CELL, DOUBLE_CELL, BOOLEAN_CELL, VARCHAR_CELL, JSON_CELL };
enum { DECIMAL_DIGITS = 19, WORD_BITS = 64, DOUBLE_BITS = 53, EXPONENT_BIAS = 1023 };

/* Keys by the object that they are in. Number 0 is the whole object; its keys come first, then theirs, so that the keys
 * of one object have consecutive numbers. */
struct paths {
    const struct texts *keys; /* key n is text n - 1; group: the object it is in */
    const int32_t *first;     /* by object: its first key */
    const int32_t *columns;   /* by key: the column of its values, -1: none */
    const uint8_t *cells;     /* by column: what it holds */
    int32_t *begins, *follows; /* by object, the key that came first; by key, the one that came next; the last time */
};

struct cells {
    const uint8_t *data;
    int64_t size;
    const int64_t *offsets;
    int64_t rows;
    uint8_t *taken;          /* by row: in, whether there is an object; out, whether it is done */
    uint8_t **values;        /* by column: as Arrow has them */
    uint8_t **there;         /* by column: bits */
    uint8_t *unescaped;      /* room for texts that are written with backslashes */
    uint8_t *room;           /* for a row and what is read behind it */
    int64_t unescaped_size;  /* out */
    int64_t row;             /* at hand */
    const uint8_t *begin;    /* of that row, wherever it is */
    const uint8_t *end;
};

static int64_t digits_of(at p, at end) {
    int64_t number = 0;
    bool negative = *p == '-';
    for (p += negative; p < end; p++)
        number = number * 10 + (*p - '0');
    return negative ? -number : number;
}

/* A decimal number as the nearest double. */
static bool double_of(at p, at end, double *number) {
    uint64_t digits = 0, power = 1;
    int count = 0;
    bool negative = *p == '-', fraction = false;
    for (p += negative; p < end; p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        digits = digits * 10 + (*p - '0');
        count += count || *p != '0';
        if (fraction && power > UINT64_MAX / 10)
            return false;
        power *= fraction ? 10 : 1;
        if (count > DECIMAL_DIGITS)
            return false;
    }
    if (power == 1 || digits < (uint64_t)1 << DOUBLE_BITS) {
        *number = (double)digits / (double)power; /* rounded once: a double holds all these powers, and 2^53 */
    } else {
        int shift = WORD_BITS + __builtin_clzll(digits);
        unsigned __int128 dividend = (unsigned __int128)digits << shift, quotient = dividend / power;
        bool rest = dividend % power;
        for (; quotient >> WORD_BITS; shift--) {
            rest |= quotient & 1;
            quotient >>= 1;
        }
        uint64_t bits = (uint64_t)(EXPONENT_BIAS - shift) << (DOUBLE_BITS - 1);
        double scale;
        memcpy(&scale, &bits, sizeof scale);
        *number = (double)((uint64_t)quotient | rest) * scale; /* what is cut off counts for the rounding */
    }
    if (negative)
        *number = -*number;
    return true;
}

static uint8_t *utf8(uint8_t *out, uint32_t code) {
    int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    *out++ = (uint8_t)(more ? (0xFF00 >> (more + 1) & 0xFF) | code >> 6 * more : code);
    while (more--)
        *out++ = (uint8_t)(0x80 | (code >> 6 * more & 0x3F));
    return out;
}

/* The text of a string that is written with backslashes, all of them good. */
static uint8_t *unescape(at p, at end, uint8_t *out) {
    static const uint8_t written[] = "bfnrt", meant[] = "\b\f\n\r\t";
    while (p < end) {
        if (*p != '\\') {
            *out++ = *p++;
        } else if (p[1] != 'u') {
            const uint8_t *found = memchr(written, p[1], sizeof written - 1);
            *out++ = found ? meant[found - written] : p[1];
            p += 2;
        } else {
            uint32_t code = (uint32_t)code_unit(p + 2);
            p += 6;
            if (code >= 0xD800 && code <= 0xDBFF) {
                code = 0x10000 + ((code - 0xD800) << 10 | ((uint32_t)code_unit(p + 2) - 0xDC00));
                p += 6;
            }
            out = utf8(out, code);
        }
    }
    return out;
}

static bool text_cell(struct cells *cells, int32_t column, at begin, at end, bool escaped) {
    const uint8_t *from = cells->data + cells->offsets[cells->row];
    int32_t *view = (int32_t *)cells->values[column] + 4 * cells->row, buffer = 0;
    int64_t offset = begin - cells->begin + (from - cells->data);
    if (escaped) {
        uint8_t *text = cells->unescaped + cells->unescaped_size, *last = unescape(begin, end, text);
        buffer = 1;
        offset = cells->unescaped_size;
        cells->unescaped_size += last - text;
        begin = text;
        end = last;
    }
    return as_view(view, begin, end - begin, buffer, offset);
}

/* Makes the cell of a value. False: the engine is to make it. */
static bool cell(struct cells *cells, int32_t column, enum cell what, at p, at end) {
    uint8_t kind, *there = cells->there[column] + cells->row / 8, bit = (uint8_t)(1 << cells->row % 8);
    bool plain, escaped = false, full = true;
    if (*p == 'n')
        return true;
    if (*there & bit)
        return false;
    if (what == JSON_CELL) {
        full = text_cell(cells, column, p, end, false);
    } else if (*p == '"') {
        if (what != VARCHAR_CELL || !string_end(p + 1, &escaped))
            return false;
        if (end - p == 2) /* empty is as good as none */
            return true;
        full = text_cell(cells, column, p + 1, end - 1, escaped);
    } else if (*p == 't' || *p == 'f') {
        if (what == VARCHAR_CELL)
            full = text_cell(cells, column, p, end, false);
        else if (what != BOOLEAN_CELL)
            return false;
        else
            cells->values[column][cells->row / 8] |= (uint8_t)(*p == 't' ? bit : 0);
    } else if (*p == '{' || *p == '[' || !number_end(p, &kind, &plain)) {
        return false;
    } else if (what == DOUBLE_CELL) {
        full = double_of(p, end, (double *)cells->values[column] + cells->row);
    } else if (kind == 'd') {
        return false;
    } else if (what == BIGINT_CELL) {
        ((int64_t *)cells->values[column])[cells->row] = digits_of(p, end);
    } else if (what == VARCHAR_CELL) {
        full = text_cell(cells, column, p, end, false);
    } else {
        return false;
    }
    *there |= bit;
    return full;
}

/* From a key to its value. number: of the key, if it is a wanted one, else 0. */
static at wanted_key(at p, const struct cells *cells, const struct paths *paths, int32_t object, int32_t *guess,
                     int32_t *number) {
    at key, end;
    bool escaped;
    if (*guess) {
        int64_t begin = *guess > 1 ? paths->keys->ends[*guess - 2] : 0, size = paths->keys->ends[*guess - 1] - begin;
        if (cells->end - p > size + 1 && p[size + 1] == '"' && !memcmp(p + 1, paths->keys->bytes + begin, (size_t)size)) {
            *number = *guess;
            p = blank(p + size + 2);
            return *p == ':' ? blank(p + 1) : NULL;
        }
    }
    if (!(p = after_key(p, &key, &end, &escaped)) || escaped)
        return NULL;
    const struct slot *slot = slot_of(paths->keys, key, end - key, object, hash_of(key, end - key, (uint64_t)object));
    *number = slot->used ? paths->first[object] + slot->id : 0;
    if (*number)
        *guess = *number;
    return p;
}

static at cells_of(at p, struct cells *cells, const struct paths *paths, int32_t object, int depth) {
    int32_t *guess = paths->begins + object;
    p = blank(p + 1);
    if (*p == '}')
        return p + 1;
    for (;;) {
        int32_t number;
        struct sketch sketch = {NULL, false, true, 0};
        if (!(p = wanted_key(p, cells, paths, object, guess, &number)))
            return NULL;
        at begin = p;
        bool inside = number && paths->first[number] && *p == '{';
        if (number)
            guess = paths->follows + number;
        if (inside && depth == MAX_DEPTH)
            return NULL;
        p = inside ? cells_of(p, cells, paths, number, depth + 1) : value_end(p, &sketch);
        if (!p || (number && paths->columns[number] >= 0 &&
                   !cell(cells, paths->columns[number], paths->cells[paths->columns[number]], begin, p)))
            return NULL;
        p = blank(p);
        if (*p != ',')
            return *p == '}' ? p + 1 : NULL;
        p = blank(p + 1);
    }
}

void loader_cells(struct cells *cells, const struct paths *paths, int64_t columns) {
    for (cells->row = 0; cells->row < cells->rows; cells->row++) {
        if (!cells->taken[cells->row])
            continue;
        int64_t begin = cells->offsets[cells->row], size = cells->offsets[cells->row + 1] - begin;
        cells->begin = cells->data + begin;
        if (begin + size + AHEAD > cells->size) {
            memcpy(cells->room, cells->begin, (size_t)size);
            memset(cells->room + size, 0, AHEAD);
            cells->begin = cells->room;
        }
        cells->end = cells->begin + size;
        at p = blank(cells->begin);
        p = size && *p == '{' ? cells_of(p, cells, paths, 0, 0) : NULL;
        cells->taken[cells->row] = p && p <= cells->end && blank(p) >= cells->end; /* the next row may begin blank */
        for (int64_t column = 0; !cells->taken[cells->row] && column < columns; column++)
            cells->there[column][cells->row / 8] &= (uint8_t)~(1 << cells->row % 8);
    }
}
