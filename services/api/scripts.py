"""The Lua scripts of the reads. Each is one step for Redis: what it answers was true at one and the same moment."""

from __future__ import annotations

from typing import Final

BLOBS: Final = """
-- KEYS: rows of customers and markers of partitions, in any order. Answers their fields `m`.
local found = {}
for i, key in ipairs(KEYS) do found[i] = redis.call('HGET', key, 'm') end
return found
"""

COUNTS: Final = """
-- KEYS: the markers of all partitions, then for each segment its member sets. ARGV: number of partitions.
-- Answers the markers, and for each segment how many members it has.
local partitions, markers, counts = tonumber(ARGV[1]), {}, {}
for i = 1, partitions do markers[i] = redis.call('HGET', KEYS[i], 'm') end
for i = partitions + 1, #KEYS, partitions do
  local count = 0
  for j = i, i + partitions - 1 do count = count + redis.call('ZCARD', KEYS[j]) end
  counts[#counts + 1] = count
end
return {markers, counts}
"""

MEMBERS: Final = """
-- KEYS: the markers of all partitions, then the member sets of one segment. ARGV: head of the customers' keys, partition to
-- begin with, where in it (`-`, or `(` and an id), how many. Answers the markers and, flat: partition, id, memberships, …
local partitions, found, markers = #KEYS / 2, {}, {}
local head, at, from, left = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
for i = 1, partitions do markers[i] = redis.call('HGET', KEYS[i], 'm') end
while left > 0 and at < partitions do
  local ids = redis.call('ZRANGEBYLEX', KEYS[partitions + at + 1], from, '+', 'LIMIT', 0, left)
  for _, id in ipairs(ids) do
    found[#found + 1] = at
    found[#found + 1] = id
    found[#found + 1] = redis.call('HGET', head .. id, 'm')
  end
  left, at, from = left - #ids, at + 1, '-'
end
return {markers, found}
"""
