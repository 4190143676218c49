"""The directory: which member has which key, kept by three owners of each key.

Soft state all of it: only a holder says what it has, owners never invent, and
whatever is lost is told again. `engine` puts the parts together for the shell and
for the simulation; each part stands alone below it:

    keys           digests and tags as bytes, and their place on the ring
    records        what is said of a key, and which of two sayings wins
    messages       what members send each other about it
    codec          those messages as bytes
    fields         what a single field of a message may be, for both codecs
    shard          what an owner knows
    answers        what an owner says of a key
    youth          whether an owner's "nobody" may be believed yet
    owner          these three together
    roster         who lives
    ring_change    which keys change hands, looked at a few at a time
    purges         which observations of tags count no more
    pair           what stands between one holder and one owner
    advertisement  what a holder must still tell whom
    outgoing       what the engine hands to its driver
    inquiry        whom an asker asks, and what it may conclude
    fetch_messages what askers and owners send each other while a blob is fetched
    fetch_codec    those messages as bytes
    spread         one blob while it spreads
    spreading      the same in words, for whoever wants it explained
    parents        from whom a receiver reads
    leases         who fetches from upstream: the owner's rules
    fetch_desk     these together, beside the engine
"""
