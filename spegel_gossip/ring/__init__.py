"""The consistent-hash ring: which members own a token. Integers only; keys become tokens in `directory`."""
