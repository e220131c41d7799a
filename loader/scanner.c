/* Takes lines that are usual events apart; loader/scanner.py says what that is, and calls this.
 *
 * Nothing is decided here that the engine decides otherwise: a line that is not valid JSON, or of which it is not certain
 * what the engine would make of it, is left to it (`taken` is 0). All memory is the caller's. A line ends with a newline,
 * no token has one, and some bytes can be read behind it: so nothing here looks for the end of the data.
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "string_stop and as_view take the first byte of a word for its lowest"
#endif

typedef const uint8_t *at; /* a place in the text */

enum { INLINE = 12, AHEAD = 16 };

/* A text as Arrow's views have it: its size, and itself or its first bytes, a buffer, and where it is in there. False:
 * it is too far in there. */
static bool as_view(int32_t *view, at text, int64_t size, int32_t buffer, int64_t offset) {
    view[0] = (int32_t)size;
    view[1] = view[2] = view[3] = 0;
    memcpy(view + 1, text, (size_t)(size > INLINE ? 4 : size));
    if (size <= INLINE)
        return true;
    view[2] = buffer;
    view[3] = (int32_t)offset;
    return offset <= INT32_MAX && size <= INT32_MAX;
}

#include "scanner_json.h"
#include "scanner_texts.h"
#include "scanner_times.h"
#include "scanner_cells.h"

#define NO_KIND UINT64_MAX

enum role { OTHER, TEXT, TIME, CALL, OBJECT, CONTEXT };
enum { MAX_MEMBERS = 128, MAX_LINE = 8 << 20 }; /* longer ones may nest less: fields.py, DEPTH */
enum { CACHE_LINE = 64, FAR = 1024 };           /* what is asked for ahead of a text */

struct layout {
    struct texts *fields, *members, *calls; /* known keys, and known calls */
    const uint8_t *roles;                   /* by field */
    const int32_t *columns;                 /* by field: in `views`, for an object in `shapes` and `plain`; in `times` */
    int64_t views, times, objects, ids;     /* numbers of columns */
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
    int64_t *times;   /* datetime, row */
    uint64_t *shapes; /* object, row */
    int32_t *ids;     /* member, row: of the member's text */
    /* Bits, by column and row: */
    uint8_t *there;     /* whether a view is; that of an object goes for its shape, too */
    uint8_t *has_time;
    uint8_t *has_id;    /* whether a member's text is */
    uint8_t *plain;     /* of an object */
    uint8_t *unescaped; /* room for texts that are written with backslashes: the second buffer of `views` */
    uint8_t *sketch;    /* room for the text of a line */
    uint8_t *line;      /* room for a line and what is read behind it */
    int64_t rows;       /* out */
    int64_t texts;      /* out: of members */
    int64_t unescaped_size; /* out */
    const uint8_t *begin; /* of the line at hand, wherever it is */
    int64_t offset;       /* of that line in `data` */
};

/* From one of the known keys to its value. */
static at after_known(at p, const struct texts *keys, int32_t *number) {
    at key, end;
    bool escaped;
    if (!(p = after_key(p, &key, &end, &escaped)) || escaped)
        return NULL;
    *number = known(keys, key, end);
    return *number < 0 ? NULL : p;
}

static void mark(uint8_t *bits, const struct batch *batch, int64_t column, bool on) {
    uint8_t *byte = bits + column * ((batch->lines + 7) / 8) + batch->rows / 8, bit = (uint8_t)(1 << batch->rows % 8);
    *byte = on ? *byte | bit : *byte & (uint8_t)~bit;
}

/* Where lines end: the places behind newlines. Their number. */
int64_t loader_ends(const uint8_t *data, int64_t size, int64_t *ends) {
    int64_t count = 0;
    for (at p = data; (p = memchr(p, '\n', (size_t)(data + size - p)));)
        ends[count++] = ++p - data;
    return count;
}

void loader_keep(struct texts *texts, at text, int64_t size, int64_t group) {
    id_of(texts, text, size, (int32_t)group, hash_of(text, size, (uint64_t)group));
}

/* Puts what is in other slots into those of `texts`, which are more. */
void loader_move(struct texts *texts, const struct slot *slots, int64_t count) {
    for (const struct slot *slot = slots; slot < slots + count; slot++)
        if (slot->used)
            *slot_of(texts, texts->bytes + slot->begin, slot->size, slot->group, slot->hash) = *slot;
}

static void view(struct batch *batch, int64_t column, at begin, at end) {
    int32_t *view = batch->views + 4 * (column * batch->lines + batch->rows);
    as_view(view, begin, end - begin, 0, begin - batch->begin + batch->offset);
    mark(batch->there, batch, column, true);
}

static void unescaped_view(struct batch *batch, int64_t column, at begin, at end) {
    int32_t *view = batch->views + 4 * (column * batch->lines + batch->rows);
    uint8_t *text = batch->unescaped + batch->unescaped_size;
    int64_t size = unescape(begin, end, text) - text;
    as_view(view, text, size, 1, batch->unescaped_size);
    batch->unescaped_size += size;
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
        unescaped_view(batch, column, begin, end);
    else if (end > begin)
        view(batch, column, begin, end);
    return p;
}

/* A datetime; empty is as good as none. */
static at datetime(at p, struct batch *batch, int64_t column) {
    bool escaped = false;
    at end;
    if (*p != '"' || !(end = string_end(p + 1, &escaped)))
        return NULL;
    if (end == p + 1)
        return end + 1;
    mark(batch->has_time, batch, column, true);
    return instant_of(p + 1, end, batch->times + column * batch->lines + batch->rows) ? end + 1 : NULL;
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
    if (*p != '{')
        return NULL;
    p = blank(p + 1);
    if (*p == '}')
        return p + 1;
    for (;;) {
        int32_t number;
        if (!(p = after_known(p, layout->members, &number)) || seen[number >> 6] >> (number & 63) & 1)
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
        for (int64_t far = 0; far < member->end - member->begin && far < FAR; far += CACHE_LINE)
            __builtin_prefetch(texts->bytes + texts->slots[member->hash & texts->mask].begin + far);
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
    if (*p != '{')
        return NULL;
    p = blank(p + 1);
    for (;;) {
        uint8_t kind;
        int32_t field;
        if (!(p = after_known(p, layout->fields, &field)) || seen >> field & 1)
            return NULL;
        seen |= (uint64_t)1 << field;
        int32_t column = layout->columns[field];
        enum role role = layout->roles[field];
        struct sketch sketch = {NULL, false, true, 0};
        if (*p == 'n')
            p = word_end(p, &kind);
        else if (role == TEXT)
            p = text(p, batch, layout, column, false);
        else if (role == TIME)
            p = datetime(p, batch, column);
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
    for (int64_t column = 0; column < layout->times; column++)
        mark(batch->has_time, batch, column, false);
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
    batch->rows = batch->texts = batch->unescaped_size = 0;
    for (int64_t line = 0; line < batch->lines; line++) {
        struct members members;
        bool may_be = batch->taken[line] && batch->offsets[line + 1] - batch->offsets[line] <= MAX_LINE;
        batch->taken[line] = false;
        if (!may_be)
            continue;
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
