"""Where the addresses of seeds come from.

A seed is an address at which a member may be found to join through. Each source
answers with what it knows now and is asked again for ever, so that two halves of a
cluster always find each other. Remembered members are not here: `gossip` keeps them.
"""
