"""What Redis does with lists: each script is atomic, and one call.

A list, or the snoozes of a rule, is a shelf. All keys of all shelves share one hash tag, so on a
cluster they are on one server:

    version      hash: `id` of this store, `n` counts its changes
    heads        hash: shelf → generation, another one whenever its records are written anew
    entries:…    hash of a shelf: key (8 bytes) → since, until (8 bytes each), entry as JSON
    records:…    string of a shelf: records of 24 bytes (key, since, until), only appended to;
                 the last one of a key counts, and a removed key has since = until
    catalog      hash: name of a list → what it is, as JSON
    log          stream: who changed what, when, why

People read the entries; workers read the records, from where they left off. Integers are
little-endian.
"""

CREATE = """
-- KEYS version, catalog, log; ARGV id, log length, log text, name, description
if redis.call('HSETNX', KEYS[2], ARGV[4], ARGV[5]) == 0 then return 0 end
redis.call('HSETNX', KEYS[1], 'id', ARGV[1])
redis.call('HINCRBY', KEYS[1], 'n', 1)
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*', 'change', ARGV[3])
return 1
"""

WRITE = """
-- KEYS version, heads, entries, records, log
-- ARGV id, log length, log text, shelf, fresh generation, then per entry its record and its JSON;
-- a removed one has no JSON. Returns how many were new, how many changed, then the generation,
-- the bytes of the records, and the number of entries.
local new, records = 0, {}
for i = 6, #ARGV, 2 do
  local record, text = ARGV[i], ARGV[i + 1]
  local key = string.sub(record, 1, 8)
  local old = redis.call('HGET', KEYS[3], key)
  if text == '' then
    if old then
      redis.call('HDEL', KEYS[3], key)
      records[#records + 1] = record
    end
  else
    if not old then
      new = new + 1
    else
      -- Renewed before it ended, it has counted since it was added.
      local since, ends = struct.unpack('<i8i8', old)
      local again = struct.unpack('<i8', record, 9)
      if since < again and again <= ends then
        record = key .. string.sub(old, 1, 8) .. string.sub(record, 17)
      end
    end
    redis.call('HSET', KEYS[3], key, string.sub(record, 9) .. text)
    records[#records + 1] = record
  end
end
if #records > 0 then
  redis.call('APPEND', KEYS[4], table.concat(records))
  redis.call('HSETNX', KEYS[2], ARGV[4], ARGV[5])
  redis.call('HSETNX', KEYS[1], 'id', ARGV[1])
  redis.call('HINCRBY', KEYS[1], 'n', 1)
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[2], '*', 'change', ARGV[3])
end
return {new, #records, redis.call('HGET', KEYS[2], ARGV[4]) or '',
        redis.call('STRLEN', KEYS[4]), redis.call('HLEN', KEYS[3])}
"""

REWRITE = """
-- KEYS version, heads, entries, records
-- ARGV shelf, generation and bytes that were read, new generation, new records, keys to forget
-- Does nothing when somebody else has written meanwhile.
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
if redis.call('STRLEN', KEYS[4]) ~= tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[4], ARGV[5])
for i = 1, #ARGV[6], 8 do
  redis.call('HDEL', KEYS[3], string.sub(ARGV[6], i, i + 7))
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
redis.call('HINCRBY', KEYS[1], 'n', 1)
return 1
"""

READ = """
-- KEYS version, heads; ARGV the version that is known, what keys of records begin with, then per
-- shelf that is known its name, generation and bytes. Returns the version; if it is another one,
-- then per shelf its name, generation, the bytes left out, and the records after these.
local counted = redis.call('HMGET', KEYS[1], 'id', 'n')
if not counted[1] then return {''} end
local version = counted[1] .. '-' .. counted[2]
if version == ARGV[1] then return {version} end
local known = {}
for i = 3, #ARGV, 3 do known[ARGV[i]] = {ARGV[i + 1], ARGV[i + 2]} end
local answer, heads = {version}, redis.call('HGETALL', KEYS[2])
for i = 1, #heads, 2 do
  local shelf, generation = heads[i], heads[i + 1]
  local from = '0'
  if known[shelf] and known[shelf][1] == generation then from = known[shelf][2] end
  local at = #answer
  answer[at + 1], answer[at + 2], answer[at + 3] = shelf, generation, from
  answer[at + 4] = redis.call('GETRANGE', ARGV[2] .. shelf, from, -1)
end
return answer
"""
