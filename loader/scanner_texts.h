/* Texts that are kept once each. */

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

/* Of both numbers and their order. */
static uint64_t mixed(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)(a ^ 0x2D358DCCAA6C78A5u) * (b ^ 0x9FB21C651E98DF25u);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Up to 8 bytes as a number; of more than 3 some count twice. */
static uint64_t few(at text, int64_t size) {
    uint32_t low, high;
    if (size < 4)
        return size ? (uint64_t)text[0] << 16 | (uint64_t)text[size >> 1] << 8 | text[size - 1] : 0;
    memcpy(&low, text, 4);
    memcpy(&high, text + size - 4, 4);
    return (uint64_t)high << 32 | low;
}

static uint64_t hash_of(at text, int64_t size, uint64_t group) {
    uint64_t hash = group * 0x9E3779B97F4A7C15u + (uint64_t)size, words[2];
    for (at last = text + size - 16; text < last; text += 16) {
        memcpy(words, text, 16);
        hash = mixed(hash ^ words[0], words[1]);
        size -= 16;
    }
    if (size > 8) {
        memcpy(words, text, 8);
        memcpy(words + 1, text + size - 8, 8);
    } else {
        words[0] = few(text, size);
        words[1] = 0;
    }
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
