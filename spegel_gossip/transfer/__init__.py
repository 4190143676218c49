"""Blobs and manifests between nodes: fetching them, and serving what is held.

`fetcher` implements the fetching port over `sources` (whom to ask next), `opening` (one
question to one holder) and `stream`; `server` answers such questions from the store.
"""
