"""The Lua scripts of the projection. Each is atomic: readers see a customer's row and its place in the sets change together.

Numbers are compared as doubles, exact up to 2^53, which neither epochs nor versions reach.
"""

from __future__ import annotations

from typing import Final

SUPERSEDED: Final = -1
"""Answer of every script when a later owner has claimed the partition: nothing was written."""

BROKEN: Final = -2
"""Answer where the call before this one was not carried out, or a later one was, or the claim is gone: nothing was written.

The hash of the marker holds which call was the last: each names the one before it. A server may refuse a call without running it and
run the next (while it is busy, cannot save, is full), and one that was given up may still arrive, seconds later, over its old connection.
"""

CLAIM: Final = """
-- KEYS: the partition's marker. ARGV: epoch, this call. Answers the marker that was found, '' for none. It stays readable until ours
-- can replace it, and from now on nobody else writes the rows that it vouches for.
if tonumber(redis.call('HGET', KEYS[1], 'e') or '-1') > tonumber(ARGV[1]) then return -1 end
redis.call('HSET', KEYS[1], 'e', ARGV[1], 'b', ARGV[2])
return redis.call('HGET', KEYS[1], 'm') or ''
"""

MARK: Final = """
-- KEYS: the partition's marker. ARGV: epoch, the call before, this one, marker.
local known = redis.call('HMGET', KEYS[1], 'e', 'b')
if tonumber(known[1] or '-1') > tonumber(ARGV[1]) then return -1 end
if known[2] ~= ARGV[2] then return -2 end
redis.call('HSET', KEYS[1], 'b', ARGV[3], 'm', ARGV[4])
return 1
"""

ROWS: Final = """
-- KEYS: the partition's marker, then the key of each row. ARGV: epoch, the call before, this one, tail of the member sets' keys, then
-- for each row: head of the member sets' keys, customer id, version, what is shown: memberships, the text of whom a merged id means,
-- or nothing, which removes the row. A row that is not newer in (epoch, version) changes nothing.
local epoch = tonumber(ARGV[1])
local claim = redis.call('HMGET', KEYS[1], 'e', 'b')
if tonumber(claim[1] or '-1') > epoch then return -1 end
if claim[2] ~= ARGV[2] then return -2 end
local function segments(shown)
  local found = shown ~= '' and cmsgpack.unpack(shown)
  if type(found) ~= 'table' then return {} end
  -- With the homes of those who were merged into a customer, the memberships are the first of two; no segment is named by a number.
  return found[1] or found
end
local function write()
  local tail, written, at = ARGV[4], 0, 5
  for i = 2, #KEYS do
    local head, id, version, memberships = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    at = at + 4
    local known = redis.call('HMGET', KEYS[i], 'e', 'v', 'm')
    local e, v = tonumber(known[1] or '-1'), tonumber(known[2] or '-1')
    if e < epoch or (e == epoch and v < tonumber(version)) then
      local new = segments(memberships)
      if known[3] and known[3] ~= memberships then
        for segment in pairs(segments(known[3])) do
          if new[segment] == nil then redis.call('ZREM', head .. segment .. tail, id) end
        end
      end
      -- Also those that the old row has: an earlier write may have reached the row and not the set.
      for segment in pairs(new) do redis.call('ZADD', head .. segment .. tail, 0, id) end
      if memberships == '' then redis.call('DEL', KEYS[i])
      else redis.call('HSET', KEYS[i], 'e', epoch, 'v', version, 'm', memberships) end
      written = written + 1
    end
  end
  return written
end
local whole, answer = pcall(write)
if whole then
  redis.call('HSET', KEYS[1], 'b', ARGV[3])
  return answer
end
return type(answer) == 'table' and answer or redis.error_reply(answer)
"""
