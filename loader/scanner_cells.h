/* Cells of columns, taken out of JSON objects. An object of which it is not certain that the engine would make the same
 * of it is left to the engine. The objects are known to be valid; AHEAD bytes behind each can be read. */

/* MIXED: text of whatever it is. JSON: as it is written. */
enum cell { NO_CELL, BIGINT_CELL, DOUBLE_CELL, BOOLEAN_CELL, TIMESTAMPTZ_CELL, VARCHAR_CELL, MIXED_CELL, ARRAY_CELL,
            JSON_CELL };
enum { SHORT_DIGITS = 15 }; /* a number with no more is the shortest text of its double */
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
        for (; quotient >> WORD_BITS; shift--)
            quotient >>= 1; /* without a rest these bits are 0 */
        uint64_t bits = (uint64_t)(EXPONENT_BIAS - shift) << (DOUBLE_BITS - 1);
        double scale;
        memcpy(&scale, &bits, sizeof scale);
        *number = (double)((uint64_t)quotient | rest) * scale; /* what is cut off counts for the rounding */
    }
    if (negative)
        *number = -*number;
    return true;
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

/* Whether a number with a fraction is written as the engine would write it. */
static bool is_short(at p, at end) {
    at point = memchr(p, '.', (size_t)(end - p)), digit = p + (*p == '-');
    bool whole = end - point == 2 && point[1] == '0', small = *digit == '0';
    int64_t digits = end - digit - 1 - small;
    for (at zero = point + 1; small && zero < end && *zero == '0'; zero++)
        digits--;
    if (small && !whole && end - point > 3 && !memcmp(point + 1, "000", 3))
        return false; /* it may get an exponent */
    return digits <= SHORT_DIGITS && (whole || end[-1] != '0');
}

/* Whether an array is written as the engine would write it. */
static bool is_written_so(at p, at end) {
    uint8_t kind;
    bool plain = true;
    while (p < end) {
        if (*p == '"') {
            for (p = string_stop(p + 1); *p == '\\'; p = string_stop(p + 2))
                if (p[1] == 'u' || p[1] == '/')
                    return false;
            p++;
        } else if (*p == '-' || (*p >= '0' && *p <= '9')) {
            at begin = p;
            if (!(p = number_end(p, &kind, &plain)) || (kind == 'd' && !is_short(begin, p)))
                return false;
        } else if (*p == ' ' || *p == '\t' || *p == '\r') {
            return false;
        } else {
            p++;
        }
    }
    return true;
}

static bool is_blank_array(at p, int64_t size) {
    return size == 2 || (size == 4 && (!memcmp(p, "[[]]", 4) || !memcmp(p, "[\"\"]", 4)));
}

static bool string_cell(struct cells *cells, int32_t column, enum cell what, at p, at end) {
    bool escaped = memchr(p, '\\', (size_t)(end - p));
    if (what == TIMESTAMPTZ_CELL)
        return instant_of(p, end, (int64_t *)cells->values[column] + cells->row);
    if (what == MIXED_CELL && (escaped || looks_like_datetime(p, end)))
        return false;
    return (what == VARCHAR_CELL || what == MIXED_CELL) && text_cell(cells, column, p, end, escaped);
}

static bool number_cell(struct cells *cells, int32_t column, enum cell what, at p, at end) {
    uint8_t kind;
    bool plain = true;
    if (!number_end(p, &kind, &plain))
        return false;
    if (what == DOUBLE_CELL)
        return double_of(p, end, (double *)cells->values[column] + cells->row);
    if (what == MIXED_CELL || (what == VARCHAR_CELL && kind != 'd'))
        return (kind != 'd' || is_short(p, end)) && text_cell(cells, column, p, end, false);
    if (what != BIGINT_CELL || kind == 'd')
        return false;
    ((int64_t *)cells->values[column])[cells->row] = digits_of(p, end);
    return true;
}

/* Makes the cell of a value. False: the engine is to make it. */
static bool cell(struct cells *cells, int32_t column, enum cell what, at p, at end) {
    uint8_t *there = cells->there[column] + cells->row / 8, bit = (uint8_t)(1 << cells->row % 8);
    bool text = what == VARCHAR_CELL || what == MIXED_CELL, made;
    if (*p == 'n' || (what == MIXED_CELL && *p == '{'))
        return true;
    if (*there & bit)
        return false;
    if (what == JSON_CELL) {
        made = text_cell(cells, column, p, end, false);
    } else if (*p == '"') {
        if (end - p == 2 && (text || what == TIMESTAMPTZ_CELL)) /* empty is as good as none */
            return true;
        made = string_cell(cells, column, what, p + 1, end - 1);
    } else if (*p == '[') {
        if ((what != ARRAY_CELL && what != MIXED_CELL) || !is_written_so(p, end))
            return false;
        if (is_blank_array(p, end - p))
            return true;
        made = text_cell(cells, column, p, end, false);
    } else if (*p == '{') {
        return false;
    } else if (*p == 't' || *p == 'f') {
        made = text ? text_cell(cells, column, p, end, false) : what == BOOLEAN_CELL;
        if (what == BOOLEAN_CELL)
            cells->values[column][cells->row / 8] |= (uint8_t)(*p == 't' ? bit : 0);
    } else {
        made = number_cell(cells, column, what, p, end);
    }
    *there |= (uint8_t)(made ? bit : 0);
    return made;
}

/* From a key to its value. number: of the key, if it is a wanted one, else 0. */
static at wanted_key(at p, const struct cells *cells, const struct paths *paths, int32_t object, int32_t *guess,
                     int32_t *number) {
    at key, end;
    bool escaped;
    if (*guess) {
        int64_t begin = *guess > 1 ? paths->keys->ends[*guess - 2] : 0, size = paths->keys->ends[*guess - 1] - begin;
        if (*p == '"' && cells->end - p > size + 1 && p[size + 1] == '"' &&
            !memcmp(p + 1, paths->keys->bytes + begin, (size_t)size)) {
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
