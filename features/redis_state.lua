#!lua name=preempt_features_@VERSION@
-- The server's half of features/redis_state.py: what is stored, and each step that must be atomic.
-- docs/adr/0008 says why it is so. Integers are little endian; a key of an order or entity value
-- is 8 bytes.
--
-- meta      epoch 8 | horizon i64 | newest event time i64 | outcomes without their order i64
-- order     time i64 | tag 8 | facts | outcomes: (kind u8 | time i64 | tag 8)*
--           A tag names the call that wrote it; zeros as the tag of the order: it has not come yet.
-- facts     unit price i64 | quantity i32 | a key for each of the entities, zeros where it has none
-- timeline  generation u32 | bytes of tiles u32 | tiles | records in the sequence of application
-- record    order key 8 | kind u8, 0 an order | time i64 | slices of the order's facts
--
-- An event of a call is: order key 8 | kind u8 | time i64 | floor i64, what is older is forgotten.

-- The standard library cannot be reached while functions are loaded, only while one runs.
local sub, byte, find, rep, concat, unpack_, pack_, call

local function prepare()
  if sub then return end
  sub, byte, find, rep = string.sub, string.byte, string.find, string.rep
  concat, unpack_, pack_, call = table.concat, struct.unpack, struct.pack, redis.call
end

local NOTHING = '\0\0\0\0\0\0\0\0'
local HEADER = '\0\0\0\0\0\0\0\0'
local HEADER_BYTES, META_BYTES, EVENT_BYTES, OUTCOME_BYTES = 8, 32, 25, 17
local NEEDLE = 17 -- bytes of a record that tell it from every other one

-- How a record gets into its timeline.
local APPEND = 0 -- it cannot be there yet
local UNLESS_THERE = 1
local AGAIN = 2 -- as 1; where it is there, this call is made again: show what was before it

local function refuse(name, detail)
  error({ err = name .. ' ' .. detail })
end

local function hex(bytes)
  return (bytes:gsub('.', function(c) return string.format('%02x', byte(c)) end))
end

local function integer(bytes, at)
  return (unpack_('<i8', bytes, at))
end

-- Layouts ---------------------------------------------------------------------------------------
-- Parsed once from what the client sends: `before`, `after` the shard number in every key, the
-- bytes of facts, and for each entity "letter column order-slices outcome-slices;", where slices
-- are "from-to,from-to" within the facts, "=" for none, and "-" when there are no such records.

local layouts = {}

local function slices(text)
  if text == '-' then return nil end
  local found = {}
  for from, to in text:gmatch('(%d+)-(%d+)') do
    found[#found + 1] = { tonumber(from), tonumber(to) }
  end
  return found
end

local function width(parts)
  local bytes = NEEDLE
  for _, part in ipairs(parts or {}) do bytes = bytes + part[2] - part[1] + 1 end
  return bytes
end

local function layout_of(before, after, facts, spec)
  local id = before .. '\0' .. after .. '\0' .. facts .. '\0' .. spec
  local layout = layouts[id]
  if layout then return layout end
  layout = { facts = tonumber(facts), entities = {}, base = {}, widths = {} }
  for letter, column, of_order, of_outcome in spec:gmatch('(%a) (%d+) (%S+) (%S+);') do
    local entity = {
      letter = letter,
      at = 13 + 8 * tonumber(column),
      order = slices(of_order),
      outcome = slices(of_outcome),
    }
    layout.entities[#layout.entities + 1] = entity
    layout.widths[letter] = { width(entity.order), width(entity.outcome) }
  end
  for last = 0, 255 do -- the last byte of a key says which of 64 shards it is in
    layout.base[last] = before .. math.floor(last / 4) .. after
  end
  layouts[id] = layout
  return layout
end

local function slot_key(layout, letter, key)
  return layout.base[byte(key, 8)] .. letter .. key
end

-- What every call brings: where things are, and who calls.
local function context(args)
  return {
    layout = layout_of(args[1], args[2], args[3], args[4]),
    epoch = args[5],
    tag = args[6],
    ttl = args[7],
    trim_from = tonumber(args[8]), -- bytes from which a timeline is trimmed
    trim_before = tonumber(args[9]), -- … of records before this time, if the first is …
    trim_at = tonumber(args[10]), -- … before this one
    newest = tonumber(args[11]),
    alone = args[12] == '1', -- the whole state is on this server, and a call is atomic
  }
end

local function meta_of(key, context)
  local meta = call('GET', key)
  if not meta or #meta ~= META_BYTES or sub(meta, 1, 8) ~= context.epoch then
    refuse('STATELOST', hex(key))
  end
  return meta
end

local function keep_meta(key, meta, context, waiting)
  local newest = integer(meta, 17)
  if context.newest > newest or waiting ~= 0 then
    newest = math.max(newest, context.newest)
    call('SET', key, sub(meta, 1, 16) .. pack_('<i8i8', newest, integer(meta, 25) + waiting))
  end
  return pack_('<i8', newest)
end

-- Records for timelines -------------------------------------------------------------------------
-- A call collects what is to be done to each timeline: blob[key], records to append at once, or,
-- where care is needed, items[key], a list of record, mode, record, mode …

local function new_work()
  return { keys = {}, known = {}, blob = {}, items = {}, wanted = {}, views = {} }
end

local function touched(work, key)
  if not work.known[key] then
    work.known[key] = true
    work.keys[#work.keys + 1] = key
  end
end

local function add(work, key, record, mode)
  touched(work, key)
  local items = work.items[key]
  if mode == APPEND and not items then
    local blob = work.blob[key]
    work.blob[key] = blob and blob .. record or record
    return
  end
  if not items then
    items = {}
    work.items[key] = items
    if work.blob[key] then
      items[1], items[2] = work.blob[key], APPEND
      work.blob[key] = nil
    end
  end
  items[#items + 1] = record
  items[#items + 1] = mode
end

local function record(head, facts, parts)
  local n = #parts
  if n == 0 then return head end
  if n == 1 then return head .. sub(facts, parts[1][1], parts[1][2]) end
  if n == 2 then
    return head .. sub(facts, parts[1][1], parts[1][2]) .. sub(facts, parts[2][1], parts[2][2])
  end
  local pieces = { head }
  for i = 1, n do pieces[i + 1] = sub(facts, parts[i][1], parts[i][2]) end
  return concat(pieces)
end

local function add_order(work, layout, order, mode)
  local facts = order.facts
  local head = order.key .. '\0' .. order.time_bytes
  for _, entity in ipairs(layout.entities) do
    if entity.order then
      local key = sub(facts, entity.at, entity.at + 7)
      if key ~= NOTHING then
        add(work, slot_key(layout, entity.letter, key), record(head, facts, entity.order), mode)
      end
    end
  end
end

local function add_outcome(work, layout, order, kind_and_time, mode)
  local facts = order.facts
  local head = order.key .. kind_and_time
  for _, entity in ipairs(layout.entities) do
    if entity.outcome then
      local key = sub(facts, entity.at, entity.at + 7)
      if key ~= NOTHING then
        add(work, slot_key(layout, entity.letter, key), record(head, facts, entity.outcome), mode)
      end
    end
  end
end

-- Orders ----------------------------------------------------------------------------------------

local function load_order(context, key)
  local layout = context.layout
  local place = slot_key(layout, 'o', key)
  local bytes = call('GET', place)
  local order = { key = key, place = place, before = '', outcomes = '', placed = false }
  if not bytes then return order end
  local fixed = 16 + layout.facts
  if #bytes < fixed or (#bytes - fixed) % OUTCOME_BYTES ~= 0 then
    refuse('CORRUPTED', hex(place))
  end
  local tag = sub(bytes, 9, 16)
  order.outcomes = sub(bytes, fixed + 1)
  order.before = bytes
  if find(bytes, context.tag, 9, true) then
    -- This call is made again: what it did then is undone here and done once more.
    order.again = true
    local others = {}
    for at = 1, #order.outcomes, OUTCOME_BYTES do
      local outcome = sub(order.outcomes, at, at + OUTCOME_BYTES - 1)
      if sub(outcome, 10) ~= context.tag then others[#others + 1] = outcome end
    end
    order.outcomes = concat(others)
    if tag == context.tag then tag = NOTHING end
    order.before = sub(bytes, 1, 8) .. tag .. sub(bytes, 17, fixed) .. order.outcomes
  end
  if tag ~= NOTHING then
    order.placed = true
    order.tag = tag
    order.time_bytes = sub(bytes, 1, 8)
    order.time = integer(bytes, 1)
    order.facts = sub(bytes, 17, fixed)
  end
  return order
end

local function is_alive(order, floor)
  if order.placed and order.time >= floor then return true end
  for at = 1, #order.outcomes, OUTCOME_BYTES do
    if integer(order.outcomes, at + 1) >= floor then return true end
  end
  return false
end

local function take_order(context, work, order, time_bytes, time, facts, floor)
  local layout = context.layout
  local waiting = 0
  if order.placed then
    if not context.alone and order.time >= floor then
      add_order(work, layout, order, UNLESS_THERE) -- its worker may have died before it did
    end
  elseif time >= floor then
    order.placed, order.dirty = true, true
    order.time_bytes, order.time, order.tag, order.facts = time_bytes, time, context.tag, facts
    local mode = order.again and AGAIN or (context.alone and APPEND or UNLESS_THERE)
    add_order(work, layout, order, mode)
    for at = 1, #order.outcomes, OUTCOME_BYTES do
      if integer(order.outcomes, at + 1) >= floor then
        waiting = waiting - 1
        add_outcome(work, layout, order, sub(order.outcomes, at, at + 8), mode)
      end
    end
  end
  for _, entity in ipairs(layout.entities) do
    local key = sub(facts, entity.at, entity.at + 7)
    if key ~= NOTHING then
      local timeline = slot_key(layout, entity.letter, key)
      touched(work, timeline)
      work.wanted[timeline] = true
    end
  end
  return order.again and 0 or waiting
end

local function take_outcome(context, work, order, kind_and_time, floor)
  local known = false
  for at = 1, #order.outcomes, OUTCOME_BYTES do
    known = known or sub(order.outcomes, at, at + 8) == kind_and_time
  end
  local mode = order.again and AGAIN or (context.alone and APPEND or UNLESS_THERE)
  if known then
    if context.alone or not order.placed then return 0 end
    mode = UNLESS_THERE
  else
    order.outcomes = order.outcomes .. kind_and_time .. context.tag
    order.dirty = true
  end
  if order.placed then
    add_outcome(work, context.layout, order, kind_and_time, mode)
    return 0
  end
  return order.again and 0 or 1
end

-- Takes the events of a call at their order records.
-- Returns those orders as they were before the call, and how many more outcomes wait.
local function register(context, work, heads, facts)
  local orders, known, waiting, facts_at = {}, {}, 0, 1
  local bytes = context.layout.facts
  for at = 1, #heads, EVENT_BYTES do
    local key = sub(heads, at, at + 7)
    local time, floor = integer(heads, at + 9), integer(heads, at + 17)
    local order = known[key]
    if not order then
      order = load_order(context, key)
      known[key] = order
      orders[#orders + 1] = order
    end
    if (order.placed or order.outcomes ~= '') and not is_alive(order, floor) then
      order.placed, order.outcomes = false, ''
    end
    if byte(heads, at + 8) == 0 then
      local of_order = sub(facts, facts_at, facts_at + bytes - 1)
      facts_at = facts_at + bytes
      waiting = waiting
        + take_order(context, work, order, sub(heads, at + 9, at + 16), time, of_order, floor)
    elseif time >= floor then
      waiting = waiting + take_outcome(context, work, order, sub(heads, at + 8, at + 16), floor)
    end
  end
  return orders, waiting
end

local function keep_orders(context, orders)
  local nothing = rep('\0', 16 + context.layout.facts)
  for _, order in ipairs(orders) do
    if order.dirty then
      local fixed = nothing
      if order.placed then fixed = order.time_bytes .. order.tag .. order.facts end
      call('SET', order.place, fixed .. order.outcomes, 'PX', context.ttl)
    end
  end
end

local function befores(orders)
  local keys, bytes = {}, {}
  for i, order in ipairs(orders) do keys[i], bytes[i] = order.key, order.before end
  return concat(keys), bytes
end

-- Timelines -------------------------------------------------------------------------------------

-- Cuts records that are older than the floor off the front; true if any were.
local function trimmed(context, key, bytes)
  local tiles = unpack_('<I4', bytes, 5)
  local first = HEADER_BYTES + tiles + 1
  if #bytes < first + NEEDLE or integer(bytes, first + 9) >= context.trim_at then return bytes end
  local widths = context.layout.widths[sub(key, -9, -9)]
  local at = first
  while at + NEEDLE <= #bytes and integer(bytes, at + 9) < context.trim_before do
    at = at + (byte(bytes, at + 8) == 0 and widths[1] or widths[2])
  end
  local generation = (unpack_('<I4', bytes, 1) + 1) % 4294967296
  return pack_('<I4', generation) .. sub(bytes, 5, first - 1) .. sub(bytes, at), true
end

-- Appends to one timeline; returns its bytes from before this call, if they are wanted.
local function touch(context, key, blob, items, wanted)
  if not (wanted or items) then -- only outcomes: need not be read
    if call('APPEND', key, blob) == #blob then
      call('SET', key, HEADER .. blob, 'PX', context.ttl)
    else
      call('PEXPIRE', key, context.ttl)
    end
    return
  end
  local old = call('GET', key)
  local view = old or ''
  if old and items then
    local missing, cut = {}, #old + 1
    for i = 1, #items, 2 do
      local item, mode = items[i], items[i + 1]
      local there = mode ~= APPEND and find(old, sub(item, 1, NEEDLE), HEADER_BYTES + 1, true)
      if not there then
        missing[#missing + 1] = item
      elseif mode == AGAIN and there < cut then
        cut = there
      end
    end
    blob = concat(missing)
    view = sub(old, 1, cut - 1)
  elseif items then
    local all = {}
    for i = 1, #items, 2 do all[#all + 1] = items[i] end
    blob = concat(all)
  end
  if blob and blob ~= '' then
    if not old then
      call('SET', key, HEADER .. blob, 'PX', context.ttl)
    else
      local shorter, is_shorter = old, false
      if #old >= context.trim_from then shorter, is_shorter = trimmed(context, key, old) end
      if is_shorter then
        call('SET', key, shorter .. blob, 'PX', context.ttl)
      else
        call('APPEND', key, blob)
        call('PEXPIRE', key, context.ttl)
      end
    end
  end
  return view
end

-- Functions -------------------------------------------------------------------------------------

-- KEYS: a meta. ARGV: its value if it is new. Returns what it is.
local function open(keys, args)
  call('SET', keys[1], args[1], 'NX')
  return call('GET', keys[1])
end

-- One server: both steps. KEYS: a meta. ARGV: context, heads, facts.
-- Returns newest, order keys, orders before, timeline keys, timelines before.
local function apply(keys, args)
  local context = context(args)
  local meta = meta_of(keys[1], context)
  local work = new_work()
  local orders, waiting = register(context, work, args[13], args[14])
  local views, names = {}, {}
  for _, key in ipairs(work.keys) do
    local wanted = work.wanted[key]
    local view = touch(context, key, work.blob[key], work.items[key], wanted)
    if wanted then
      names[#names + 1] = sub(key, -9)
      views[#views + 1] = view
    end
  end
  keep_orders(context, orders)
  local newest = keep_meta(keys[1], meta, context, waiting)
  local order_keys, before = befores(orders)
  return { newest, order_keys, before, concat(names), views }
end

-- Cluster, first step, the orders of one shard. KEYS: its meta. ARGV: as `apply`.
-- Returns newest, order keys, orders before, and of each timeline: its key, whether it is wanted,
-- how many records, then record, mode, record, mode …
local function orders_of_shard(keys, args)
  local context = context(args)
  local meta = meta_of(keys[1], context)
  local work = new_work()
  local orders, waiting = register(context, work, args[13], args[14])
  keep_orders(context, orders)
  local newest = keep_meta(keys[1], meta, context, waiting)
  local order_keys, before = befores(orders)
  local steps = {}
  for _, key in ipairs(work.keys) do
    local items = work.items[key] or {}
    steps[#steps + 1] = key
    steps[#steps + 1] = work.wanted[key] and '1' or '0'
    steps[#steps + 1] = tostring(#items / 2)
    for _, each in ipairs(items) do steps[#steps + 1] = tostring(each) end
  end
  return { newest, order_keys, before, steps }
end

-- Cluster, second step, the timelines of one shard. KEYS: its meta. ARGV: context, then steps.
-- Returns newest, timeline keys, timelines before.
local function timelines_of_shard(keys, args)
  local context = context(args)
  local meta = meta_of(keys[1], context)
  local views, names = {}, {}
  local at = 13
  while at <= #args do
    local key, wanted, n = args[at], args[at + 1] == '1', tonumber(args[at + 2])
    local items = {}
    for i = 1, n do
      items[2 * i - 1] = args[at + 1 + 2 * i]
      items[2 * i] = tonumber(args[at + 2 + 2 * i])
    end
    local view = touch(context, key, nil, n > 0 and items or nil, wanted)
    if wanted then
      names[#names + 1] = sub(key, -9)
      views[#views + 1] = view
    end
    at = at + 3 + 2 * n
  end
  return { keep_meta(keys[1], meta, context, 0), concat(names), views }
end

-- Puts tiles in the place of a timeline's first records, unless it was replaced or trimmed since.
-- KEYS: the timeline. ARGV: generation it had, bytes of records that the tiles hold, tiles, ttl.
-- Returns 1, or 0 when it has another generation.
local function replace(keys, args)
  local bytes = call('GET', keys[1])
  if not bytes then return 0 end
  local generation, tiles = unpack_('<I4I4', bytes, 1)
  if generation ~= tonumber(args[1]) then return 0 end
  local rest = sub(bytes, HEADER_BYTES + tiles + tonumber(args[2]) + 1)
  local header = pack_('<I4I4', (generation + 1) % 4294967296, #args[3])
  call('SET', keys[1], header .. args[3] .. rest, 'PX', args[4])
  return 1
end

local function prepared(step)
  return function(keys, args)
    prepare()
    return step(keys, args)
  end
end

redis.register_function('preempt_open_@VERSION@', prepared(open))
redis.register_function('preempt_apply_@VERSION@', prepared(apply))
redis.register_function('preempt_orders_@VERSION@', prepared(orders_of_shard))
redis.register_function('preempt_timelines_@VERSION@', prepared(timelines_of_shard))
redis.register_function('preempt_replace_@VERSION@', prepared(replace))
