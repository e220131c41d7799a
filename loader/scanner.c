/* Takes lines that are usual events apart; loader/scanner.py says what that is, and calls this.
 *
 * Nothing is decided here that the engine decides otherwise: a line that is not valid JSON, or of which it is not certain
 * what the engine would make of it, is left to it (`taken` is 0). All memory is the caller's. A line ends with a newline,
 * no token has one, and some bytes can be read behind it: so nothing here looks for the end of the data.
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "string_end and view take the first byte of a word for its lowest"
#endif

typedef const uint8_t *at; /* a place in the text; NULL: the line is not usual */

#define NO_KIND UINT64_MAX

enum role { OTHER, TEXT, CALL, OBJECT, CONTEXT };
enum { MAX_DEPTH = 60, MAX_DIGITS = 18, PLAIN_DIGITS = 14, MAX_NUMBER = 40, INLINE = 12, AHEAD = 8, MAX_MEMBERS = 128 };

struct slot {
    uint64_t hash;
    int64_t begin; /* of the text in `bytes` */
    int32_t size, group;
    int32_t id; /* the text's number in its group */
    bool used;
};

/* Each different text of a group, once. Room for all that a batch can bring is the caller's business. */
struct texts {
    struct slot *slots;
    uint64_t mask;
    uint8_t *bytes;
    int32_t *ends, *groups, *ids; /* by text, in the order of coming; the first begins at 0 */
    uint64_t *shapes, *kinds;     /* by text; of members: see `keep` */
    int32_t *counts; /* by group, how many ids were given out, those of texts that are no longer here included */
    int64_t kept, size; /* texts, and their bytes */
};

struct layout {
    struct texts *fields, *members, *calls; /* known keys, and known calls */
    const uint8_t *roles;                   /* by field */
    const int32_t *columns;                 /* by field: the column of `views`; of an object, `shapes` and `plain`, too */
    int64_t views, objects, ids;            /* numbers of columns */
    int64_t ip;                             /* the member that is the column `ip`, -1: none */
    int64_t ip_column;
};

struct batch {
    const uint8_t *data;
    int64_t size;
    const int32_t *offsets;
    int64_t lines;
    uint8_t *taken;   /* by line: in, whether it may be; out, whether it was */
    int32_t *views;   /* column, row: as Arrow has them */
    uint64_t *shapes; /* object, row */
    int32_t *ids;     /* member, row: of the member's text */
    /* Bits, by column and row: */
    uint8_t *there;     /* whether a view is; that of an object goes for its shape, too */
    uint8_t *has_id;    /* whether a member's text is */
    uint8_t *plain;     /* of an object */
    uint8_t *escaped;   /* one column: whether a text is written with backslashes */
    uint8_t *sketch;    /* room for the text of a line */
    uint8_t *line;      /* room for a line and what is read behind it */
    int64_t rows;       /* out */
    int64_t texts;      /* out: of members */
    const uint8_t *begin; /* of the line at hand, wherever it is */
    int64_t offset;       /* of that line in `data` */
};

static void mark(uint8_t *bits, const struct batch *batch, int64_t column, bool on) {
    uint8_t *byte = bits + column * ((batch->lines + 7) / 8) + batch->rows / 8, bit = (uint8_t)(1 << batch->rows % 8);
    *byte = on ? *byte | bit : *byte & (uint8_t)~bit;
}

static at blank(at p) {
    while (*p == ' ' || *p == '\t' || *p == '\r')
        p++;
    return p;
}

/* --- texts that are kept once ----------------------------------------------------------------------------------------- */

static uint64_t mixed(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)(a ^ b) * 0x9FB21C651E98DF25u;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_of(at text, int64_t size, uint64_t group) {
    uint64_t hash = group * 0x9E3779B97F4A7C15u + (uint64_t)size, words[2];
    for (; size >= 16; size -= 16, text += 16) {
        memcpy(words, text, 16);
        hash = mixed(hash ^ words[0], words[1]);
    }
    words[0] = words[1] = 0;
    memcpy(words, text, (size_t)size);
    hash = mixed(hash ^ words[0], words[1]);
    return hash ^ hash >> 29;
}

/* The place of a text: its own, or the free one that it would get. */
static struct slot *slot_of(const struct texts *texts, at text, int64_t size, int32_t group, uint64_t hash) {
    for (uint64_t place = hash & texts->mask;; place = (place + 1) & texts->mask) {
        struct slot *slot = texts->slots + place;
        if (!slot->used || (slot->hash == hash && slot->group == group && slot->size == size &&
                            !memcmp(texts->bytes + slot->begin, text, (size_t)size)))
            return slot;
    }
}

/* The number of a text in its group. It is new if there is one more than before. */
static int32_t id_of(struct texts *texts, at text, int64_t size, int32_t group, uint64_t hash) {
    struct slot *slot = slot_of(texts, text, size, group, hash);
    if (!slot->used) {
        *slot = (struct slot){hash, texts->size, (int32_t)size, group, texts->counts[group]++, true};
        memcpy(texts->bytes + texts->size, text, (size_t)size);
        texts->size += size;
        texts->ends[texts->kept] = (int32_t)texts->size;
        texts->groups[texts->kept] = group;
        texts->ids[texts->kept++] = slot->id;
    }
    return slot->id;
}

/* The number of a known key, -1 for any other. */
static int32_t known(const struct texts *keys, at key, at end) {
    const struct slot *slot = slot_of(keys, key, end - key, 0, hash_of(key, end - key, 0));
    return slot->used ? slot->id : -1;
}

void loader_keep(struct texts *texts, at text, int64_t size) { id_of(texts, text, size, 0, hash_of(text, size, 0)); }

/* Puts what is in other slots into those of `texts`, which are more. */
void loader_move(struct texts *texts, const struct slot *slots, int64_t count) {
    for (const struct slot *slot = slots; slot < slots + count; slot++)
        if (slot->used)
            *slot_of(texts, texts->bytes + slot->begin, slot->size, slot->group, slot->hash) = *slot;
}

/* --- JSON (RFC 8259) -------------------------------------------------------------------------------------------------- */

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

/* The quote that ends the string whose first character is here. */
static at string_end(at p, bool *escaped) {
    for (;;) {
        const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
        uint64_t word, quote, slash, stops;
        for (;; p += 8) { /* 8 at a time: the first of a quote, a backslash, a control character */
            memcpy(&word, p, 8);
            quote = word ^ ones * '"';
            slash = word ^ ones * '\\';
            stops = (((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((word - ones * ' ') & ~word)) & highs;
            if (stops)
                break;
        }
        p += __builtin_ctzll(stops) >> 3;
        if (*p == '"')
            return p;
        if (*p != '\\' || !(p = after_escape(p)))
            return NULL;
        *escaped = true;
    }
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

/* From a key to its value. */
static at after_key(at p, at *key, at *end) {
    bool escaped = false;
    if (*p != '"' || !(*end = string_end(p + 1, &escaped)))
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
    p = after_key(p, &key, &end);
    if (p && sketch->end && !sketch->lists) {
        memcpy(sketch->end, key, (size_t)(end + 1 - key));
        sketch->end += end + 1 - key;
    }
    return p;
}

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
        else if (p == begin || escaped || (*begin <= '9' && p - begin >= 10 && begin[4] == '-'))
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

/* --- an event --------------------------------------------------------------------------------------------------------- */

static void view(struct batch *batch, int64_t column, at begin, at end) {
    int64_t place = column * batch->lines + batch->rows, size = end - begin;
    int32_t *view = batch->views + 4 * place;
    view[0] = (int32_t)size;
    view[1] = view[2] = view[3] = 0;
    if (size > INLINE) {
        memcpy(view + 1, begin, 4);
        view[3] = (int32_t)(begin - batch->begin + batch->offset);
    } else {
        memcpy(view + 1, begin, (size_t)size);
    }
    mark(batch->there, batch, column, true);
}

/* A text: a string, or an integer that is its own text. Empty is as good as none. */
static at text(at p, struct batch *batch, const struct layout *layout, int64_t column, bool call) {
    bool escaped = false, plain = true;
    uint8_t kind;
    at begin = p, end;
    if (*p == '"') {
        begin++;
        if (!(end = string_end(begin, &escaped)))
            return NULL;
        p = end + 1;
    } else {
        if (!(end = p = number_end(p, &kind, &plain)) || kind != 'i')
            return NULL;
    }
    if (call && (escaped || known(layout->calls, begin, end) < 0))
        return NULL;
    if (escaped)
        mark(batch->escaped, batch, 0, true);
    if (end > begin)
        view(batch, column, begin, end);
    return p;
}

static uint64_t shape_of(struct texts *shapes, at sketch, at end) {
    return (uint64_t)id_of(shapes, sketch, end - sketch, 0, hash_of(sketch, end - sketch, 0));
}

static at object(at p, struct batch *batch, struct texts *shapes, int64_t column, int64_t number) {
    int64_t place = number * batch->lines + batch->rows;
    struct sketch sketch = {batch->sketch, false, true, 0};
    at begin = p;
    if (*p != '{' || !(p = value_end(p, &sketch)))
        return NULL;
    if (*blank(begin + 1) == '}')
        view(batch, column, (at)"{}", (at)"{}" + 2);
    else
        view(batch, column, begin, p);
    batch->shapes[place] = shape_of(shapes, batch->sketch, sketch.end);
    mark(batch->plain, batch, number, sketch.plain);
    return p;
}

/* The members of a context as they come. Their texts are looked up together when all is read: what is far away in
 * memory is on its way by then. */
struct member {
    at begin, end;
    uint64_t hash;
    int32_t number;
};

struct members {
    struct member all[MAX_MEMBERS];
    int count;
};

static at context(at p, struct batch *batch, const struct layout *layout, const struct texts *texts,
                  struct members *members) {
    uint64_t seen[MAX_MEMBERS / 64] = {0};
    at key, end;
    if (*p != '{')
        return NULL;
    p = blank(p + 1);
    if (*p == '}')
        return p + 1;
    for (;;) {
        if (!(p = after_key(p, &key, &end)))
            return NULL;
        int32_t number = known(layout->members, key, end);
        if (number < 0 || seen[number >> 6] >> (number & 63) & 1)
            return NULL;
        seen[number >> 6] |= (uint64_t)1 << (number & 63);
        at begin = p;
        uint8_t kind;
        struct sketch sketch = {NULL, false, true, 0};
        if (*p == 'n')
            p = word_end(p, &kind);
        else if (number == layout->ip)
            p = text(p, batch, layout, layout->ip_column, false);
        else
            p = value_end(p, &sketch);
        if (!p)
            return NULL;
        if (*begin != 'n') {
            uint64_t hash = hash_of(begin, p - begin, (uint64_t)number);
            __builtin_prefetch(texts->slots + (hash & texts->mask));
            members->all[members->count++] = (struct member){begin, p, hash, number};
        }
        p = blank(p);
        if (*p != ',')
            return *p == '}' ? p + 1 : NULL;
        p = blank(p + 1);
    }
}

/* What the value of a member looks like. */
static uint64_t member_shape(const struct member *member, struct batch *batch, struct texts *shapes, bool blanks) {
    struct sketch sketch = {batch->sketch, blanks, true, 0};
    *sketch.end++ = (uint8_t)member->number;
    value_end(member->begin, &sketch);
    return sketch.plain || !blanks ? shape_of(shapes, batch->sketch, sketch.end) : NO_KIND;
}

/* Keeps the texts of members; of each the shape, and a number that only those have whose values are all of the same
 * classes (values.sql, class_of), if that can be told here. */
static void keep(const struct members *members, struct batch *batch, struct texts *texts, struct texts *shapes) {
    const struct member *end = members->all + members->count;
    for (const struct member *member = members->all; member < end; member++)
        __builtin_prefetch(texts->bytes + texts->slots[member->hash & texts->mask].begin);
    for (const struct member *member = members->all; member < end; member++) {
        int64_t before = texts->kept;
        int32_t id = id_of(texts, member->begin, member->end - member->begin, member->number, member->hash);
        if (texts->kept > before) {
            texts->shapes[before] = member_shape(member, batch, shapes, false);
            texts->kinds[before] = member_shape(member, batch, shapes, true);
        }
        batch->ids[member->number * batch->lines + batch->rows] = id;
        mark(batch->has_id, batch, member->number, true);
    }
    batch->texts += members->count;
}

static at event(at p, struct batch *batch, const struct layout *layout, const struct texts *texts,
                struct texts *shapes, struct members *members) {
    uint64_t seen = 0;
    bool called = false;
    at key, end;
    if (*p != '{')
        return NULL;
    p = blank(p + 1);
    for (;;) {
        uint8_t kind;
        if (!(p = after_key(p, &key, &end)))
            return NULL;
        int32_t field = known(layout->fields, key, end);
        if (field < 0 || seen >> field & 1)
            return NULL;
        seen |= (uint64_t)1 << field;
        int32_t column = layout->columns[field];
        enum role role = layout->roles[field];
        struct sketch sketch = {NULL, false, true, 0};
        if (*p == 'n')
            p = word_end(p, &kind);
        else if (role == TEXT)
            p = text(p, batch, layout, column, false);
        else if (role == CALL)
            called = (p = text(p, batch, layout, column, true));
        else if (role == OBJECT)
            p = object(p, batch, shapes, column, column - (layout->views - layout->objects));
        else if (role == CONTEXT)
            p = context(p, batch, layout, texts, members);
        else
            p = value_end(p, &sketch);
        if (!p)
            return NULL;
        p = blank(p);
        if (*p != ',')
            return *p == '}' && called ? p + 1 : NULL;
        p = blank(p + 1);
    }
}

/* A row as if nothing was there. */
static void clear(struct batch *batch, const struct layout *layout) {
    for (int64_t column = 0; column < layout->views; column++)
        mark(batch->there, batch, column, false);
    for (int64_t member = 0; member < layout->ids; member++)
        mark(batch->has_id, batch, member, false);
    mark(batch->escaped, batch, 0, false);
}

/* Makes a line the one at hand: a newline ends it, and AHEAD bytes behind that can be read. Gives that end. */
static at begin(struct batch *batch, int64_t line) {
    int64_t begin = batch->offsets[line], size = batch->offsets[line + 1] - begin;
    bool whole = size && batch->data[begin + size - 1] == '\n';
    batch->offset = begin;
    batch->begin = batch->data + begin;
    if (!whole || begin + size + AHEAD > batch->size) {
        memcpy(batch->line, batch->begin, (size_t)size);
        memset(batch->line + size, '\n', 1 + AHEAD);
        batch->begin = batch->line;
    }
    return batch->begin + size - whole;
}

void loader_scan(struct batch *batch, const struct layout *layout, struct texts *texts, struct texts *shapes) {
    batch->rows = batch->texts = 0;
    for (int64_t line = 0; line < batch->lines; line++) {
        struct members members;
        if (!batch->taken[line])
            continue;
        batch->taken[line] = false;
        members.count = 0;
        clear(batch, layout);
        at end = begin(batch, line);
        at p = event(blank(batch->begin), batch, layout, texts, shapes, &members);
        if (!p || blank(p) != end)
            continue;
        keep(&members, batch, texts, shapes);
        batch->taken[line] = true;
        batch->rows++;
    }
}
