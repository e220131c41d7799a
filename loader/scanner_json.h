/* A walk over JSON (RFC 8259): from where a token or a value begins to where it ends, NULL where it is none. */

enum { MAX_DEPTH = 60, MAX_DIGITS = 18, PLAIN_DIGITS = 14, MAX_NUMBER = 40 };

static at blank(at p) {
    while (*p == ' ' || *p == '\t' || *p == '\r')
        p++;
    return p;
}

static int32_t code_unit(at p) { /* of the four digits there; -1: they are none */
    int32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t digit = p[i], low = digit | 32;
        if (digit >= '0' && digit <= '9')
            unit = unit << 4 | (digit - '0');
        else if (low >= 'a' && low <= 'f')
            unit = unit << 4 | (low - 'a' + 10);
        else
            return -1;
    }
    return unit;
}

static at after_escape(at p) {
    switch (p[1]) {
    case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
        return p + 2;
    case 'u': {
        int32_t unit = code_unit(p + 2);
        if (unit <= 0) /* U+0000: what becomes of it is up to the engine */
            return NULL;
        if (unit < 0xD800 || unit > 0xDFFF)
            return p + 6;
        if (unit > 0xDBFF || p[6] != '\\' || p[7] != 'u')
            return NULL;
        int32_t second = code_unit(p + 8);
        return second >= 0xDC00 && second <= 0xDFFF ? p + 12 : NULL;
    }
    default:
        return NULL;
    }
}

/* The first quote, backslash or control character from here on. */
static inline at string_stop(at p) {
#ifdef __SSE2__
    for (;; p += 16) { /* 16 at a time */
        __m128i text = _mm_loadu_si128((const __m128i *)p);
        __m128i quote = _mm_cmpeq_epi8(text, _mm_set1_epi8('"')), slash = _mm_cmpeq_epi8(text, _mm_set1_epi8('\\'));
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(text, _mm_set1_epi8(' ' - 1)), text);
        int stops = _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, slash), control));
        if (stops)
            return p + __builtin_ctz((unsigned)stops);
    }
#else
    for (;; p += 8) { /* 8 at a time */
        const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
        uint64_t word, quote, slash, stops;
        memcpy(&word, p, 8);
        quote = word ^ ones * '"';
        slash = word ^ ones * '\\';
        stops = (((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((word - ones * ' ') & ~word)) & highs;
        if (stops)
            return p + (__builtin_ctzll(stops) >> 3);
    }
#endif
}

static __attribute__((noinline)) at escaped_end(at p) {
    for (;;) {
        if (*p == '"')
            return p;
        if (*p != '\\' || !(p = after_escape(p)))
            return NULL;
        p = string_stop(p);
    }
}

/* The quote that ends the string whose first character is here. */
static inline at string_end(at p, bool *escaped) {
    p = string_stop(p);
    if (*p == '"')
        return p;
    *escaped = true;
    return escaped_end(p);
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

static at number_end(at p, uint8_t *kind, bool *plain) {
    at begin = p;
    *kind = 'i';
    if (*p == '-') {
        *kind = 'n';
        p++;
    }
    at first = p;
    while (*p >= '0' && *p <= '9')
        p++;
    int64_t digits = p - first;
    if (!digits || digits > MAX_DIGITS || (*first == '0' && (digits > 1 || (*kind == 'n' && *p != '.'))))
        return NULL;
    if (*p == '.') {
        *kind = 'd';
        first = ++p;
        while (*p >= '0' && *p <= '9')
            p++;
        if (p == first || p - begin > MAX_NUMBER)
            return NULL;
    }
    *plain &= digits <= PLAIN_DIGITS;
    return *p == 'e' || *p == 'E' ? NULL : p;
}

static at word_end(at p, uint8_t *kind) {
    *kind = *p == 'n' ? '0' : 'b';
    if (!memcmp(p, "true", 4) || !memcmp(p, "null", 4))
        return p + 4;
    return memcmp(p, "false", 5) ? NULL : p + 5;
}

/* From a key to its value. escaped: whether the key is written with backslashes, so that it is another than it looks. */
static at after_key(at p, at *key, at *end, bool *escaped) {
    *escaped = false;
    if (*p != '"' || !(*end = string_end(p + 1, escaped)))
        return NULL;
    *key = p + 1;
    p = blank(*end + 1);
    return *p == ':' ? blank(p + 1) : NULL;
}

/* What a value looks like: its keys in their order and what is under them, but for what is in arrays. */
struct sketch {
    uint8_t *end; /* NULL: not asked for */
    bool blanks;  /* whether an empty text looks other than the rest */
    bool plain;   /* whether all values are what their kind says: see values.sql, all_plain */
    int lists;    /* how many arrays around */
};

static void draw(struct sketch *sketch, uint8_t what) {
    if (sketch->end && !sketch->lists)
        *sketch->end++ = what;
}

static at sketched_key(at p, struct sketch *sketch) {
    at key, end;
    bool escaped;
    p = after_key(p, &key, &end, &escaped);
    if (p && sketch->end && !sketch->lists) {
        memcpy(sketch->end, key, (size_t)(end + 1 - key));
        sketch->end += end + 1 - key;
    }
    return p;
}

static bool looks_like_datetime(at text, at end) { return *text <= '9' && end - text >= 10 && text[4] == '-'; }

static at scalar_end(at p, struct sketch *sketch) {
    uint8_t kind = 's';
    if (*p == '"') {
        bool escaped = false;
        at begin = p + 1;
        p = string_end(begin, &escaped);
        if (!p)
            return NULL;
        if (p == begin && sketch->blanks && !sketch->lists)
            kind = 'e';
        else if (p == begin || escaped || looks_like_datetime(begin, p))
            sketch->plain = false;
        p++;
    } else {
        p = *p == '-' || (*p >= '0' && *p <= '9') ? number_end(p, &kind, &sketch->plain) : word_end(p, &kind);
    }
    draw(sketch, kind);
    return p;
}

static at value_end(at p, struct sketch *sketch) {
    uint64_t objects = 0; /* a bit a level: whether it is an object */
    int depth = 0;
    for (;;) { /* a value begins */
        if (*p == '{' || *p == '[') {
            bool object = *p == '{';
            if (depth == MAX_DEPTH)
                return NULL;
            draw(sketch, *p);
            p = blank(p + 1);
            depth++;
            objects = objects << 1 | object;
            sketch->lists += !object;
            if (object && *p != '}') {
                if (!(p = sketched_key(p, sketch)))
                    return NULL;
                continue;
            }
            if (!object && *p != ']')
                continue;
            sketch->plain &= object;
        } else if (!(p = scalar_end(p, sketch))) {
            return NULL;
        }
        for (;; p++) { /* a value has ended, and so may what it is in */
            if (!depth)
                return p;
            p = blank(p);
            if (*p == ',') {
                p = blank(p + 1);
                if (objects & 1 && !(p = sketched_key(p, sketch)))
                    return NULL;
                break;
            }
            if (*p != (objects & 1 ? '}' : ']'))
                return NULL;
            if (objects & 1)
                draw(sketch, '}');
            else
                sketch->lists--;
            depth--;
            objects >>= 1;
        }
    }
}
