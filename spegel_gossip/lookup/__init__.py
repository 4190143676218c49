"""The router: the directory's engine driven over both peer sockets.

lookup     the Router itself, and the task that drives the engine
transport  messages to members, as datagrams or requests
asking     inquiries that wait for answers
choice     which holder to try first
tags       when upstream last said what a tag names
snapshots  what the CLI shows
"""
