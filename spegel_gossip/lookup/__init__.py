"""The router: the directory's engine driven over both peer sockets.

Each module has one part of it:

    lookup     the Router itself
    driver     the task that sleeps for the engine
    transport  messages to members, as datagrams or requests
    asking     inquiries that wait for answers
    fetches    whom to read a spreading blob from, and what the owners hear of it
    choice     which holder to try first
    tags       when upstream last said what a tag names
    cache      answers that named holders, for a second
    ahead      which keys fit into one question
    tagging    what is said of the tags here, and what was purged
    memory     what of the tags survives a restart
    reaching   what the images here lead to, where filters or scopes ask
    config     what the operator decides
    survey     what all owners of a key say
    snapshots  what the CLI shows
    metrics    what all of it counts
"""
