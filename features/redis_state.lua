#!lua name=preempt_features_@VERSION@
-- The server's half of features/redis_state.py: what is stored, and each step that must be atomic.
-- docs/adr/0008 says why it is so. Integers are little endian; a key of an order or entity value
-- is 8 bytes.
--
-- meta      epoch 8 | horizon i64 | newest event time i64 | outcomes without their order i64
-- turns     how many calls to take events there were, as text; on one server only
-- order     time i64 | tag 8 | placed at u32, hours of the server's clock | facts | outcomes: (kind
--           u8 | time i64 | tag 8)*
--           A tag names the call that wrote it; zeros as the tag of the order: it has not come yet.
-- facts     unit price i64 | quantity i32 | a key for each of the entities, zeros where it has none
-- timeline  generation u32 | bytes of tiles u32 | expiry set at u32, hours | tiles | records in the
--           sequence of application
-- tiles     nothing, or time of the latest folded order i64 | … outcome i64 | what a client put there
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
local HEADER_BYTES, META_BYTES, EVENT_BYTES, ORDER_BYTES, OUTCOME_BYTES = 12, 32, 25, 20, 17
local MOST_OUTCOMES = 64 -- different ones of one order
local REFRESH_HOURS = 24 -- an expiry that was set so long ago is set again
local NEEDLE = 17 -- bytes of a record that tell it from every other one

-- How a record gets into its timeline.
local APPEND = 0 -- it cannot be there yet
local UNLESS_THERE = 1
local AGAIN = 2 -- as 1; where it is there, this call is made again: show what was before it
local REPAIR = 3 -- as 1, of an order or outcome that is known

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

local function layout_of(before, after, facts, spec)
  local id = before .. '\0' .. after .. '\0' .. facts .. '\0' .. spec
  local layout = layouts[id]
  if layout then return layout end
  layout = { facts = tonumber(facts), n = 0, letter = {}, at = {}, order = {}, outcome = {} }
  layout.base = {}
  for letter, column, of_order, of_outcome in spec:gmatch('(%a) (%d+) (%S+) (%S+);') do
    local n = layout.n + 1
    layout.n = n
    layout.letter[n], layout.at[n] = letter, 13 + 8 * tonumber(column)
    layout.order[n], layout.outcome[n] = slices(of_order) or false, slices(of_outcome) or false
  end
  for last = 0, 255 do -- the last byte of a key says which of 64 shards it is in
    layout.base[last] = string.format('%s%02d%s', before, math.floor(last / 4), after)
  end
  layouts[id] = layout
  return layout
end

local function slot_key(layout, letter, key)
  return layout.base[byte(key, 8)] .. letter .. key
end

-- What every call brings: where things are, and who calls.
local function context(args)
  local seconds = tonumber(call('TIME')[1])
  local hours = math.floor(seconds / 3600)
  return {
    layout = layout_of(args[1], args[2], args[3], args[4]),
    epoch = args[5],
    tag = args[6],
    ttl = args[7],
    expiry = string.format('%d', 1000 * seconds + tonumber(args[7])), -- of what is written anew
    long = tonumber(args[8]), -- bytes of records from which a client may fold a timeline
    newest = tonumber(args[9]),
    alone = args[10] == '1', -- the whole state is on this server, and a call is atomic
    now = hours,
    now_bytes = pack_('<I4', hours),
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
-- A call collects what is to be done to each timeline, by a number: blob, records to append at
-- once, or, where care is needed, items, a list of record, mode, record, mode …

local function new_work(layout)
  local numbers = {} -- by entity and value
  for i = 1, layout.n do numbers[i] = {} end
  return { n = 0, keys = {}, numbers = numbers, blob = {}, items = {}, wanted = {}, is_old = {} }
end

local function add(work, number, record, mode)
  local items, blob = work.items[number], work.blob[number]
  if mode == APPEND and not items then
    work.blob[number] = blob and blob .. record or record
    return
  end
  if not items then
    items = blob and { blob, APPEND } or {}
    work.items[number], work.blob[number] = items, nil
  end
  items[#items + 1] = record
  items[#items + 1] = mode
end

local function record(head, facts, parts)
  local n = #parts
  if n == 0 then return head end
  local first = parts[1]
  if n == 1 then return head .. sub(facts, first[1], first[2]) end
  local second = parts[2]
  if n == 2 then return head .. sub(facts, first[1], first[2]) .. sub(facts, second[1], second[2]) end
  local pieces = { head }
  for i = 1, n do pieces[i + 1] = sub(facts, parts[i][1], parts[i][2]) end
  return concat(pieces)
end

-- Adds a record to the timelines of an order's entities: `of` is layout.order or layout.outcome.
-- Without a head it adds none; `wanted` says that the timelines are to be shown,
-- `is_old` that the order put its own record there long ago.
local function add_records(work, layout, facts, of, head, mode, wanted, is_old)
  local at, numbers, blobs = layout.at, work.numbers, work.blob
  for i = 1, layout.n do
    local parts = of[i]
    if parts or wanted then
      local key = sub(facts, at[i], at[i] + 7)
      if key ~= NOTHING then
        local known = numbers[i]
        local number = known[key]
        if not number then
          number = work.n + 1
          work.n, known[key] = number, number
          work.keys[number] = slot_key(layout, layout.letter[i], key)
        end
        if parts and head then
          local bytes = record(head, facts, parts)
          if mode == APPEND and not work.items[number] then
            local blob = blobs[number]
            blobs[number] = blob and blob .. bytes or bytes
          else
            add(work, number, bytes, mode)
          end
        end
        if wanted then work.wanted[number] = true end
        if is_old then work.is_old[number] = true end
      end
    end
  end
end

-- Orders ----------------------------------------------------------------------------------------

local function load_order(context, key)
  local layout = context.layout
  local place = slot_key(layout, 'o', key)
  local bytes = call('GET', place)
  local order = {
    key = key, place = place, before = '', outcomes = '', placed = false, again = false,
    rewrite = true, more = '', tag = false, time_bytes = false, time = 0, facts = false, hours_bytes = false, changed = false,
  }
  if not bytes then return order end
  local fixed = ORDER_BYTES + layout.facts
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
    order.facts = sub(bytes, ORDER_BYTES + 1, fixed)
    order.hours_bytes = sub(bytes, 17, 20)
    order.rewrite = order.again -- else only outcomes can be added
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
  local head, mode = nil, APPEND
  if order.placed then
    if not context.alone and order.time >= floor then -- its worker may have died before it did
      local kept = order.key .. '\0' .. order.time_bytes
      add_records(work, layout, order.facts, layout.order, kept, REPAIR)
    end
  elseif time >= floor then
    order.placed, order.rewrite, order.changed = true, true, true
    order.time_bytes, order.time, order.tag, order.facts = time_bytes, time, context.tag, facts
    order.hours_bytes = context.now_bytes
    mode = order.again and AGAIN or (context.alone and APPEND or UNLESS_THERE)
    head = order.key .. '\0' .. time_bytes
    for at = 1, #order.outcomes, OUTCOME_BYTES do
      if integer(order.outcomes, at + 1) >= floor then
        waiting = waiting - 1
        local of_outcome = order.key .. sub(order.outcomes, at, at + 8)
        add_records(work, layout, facts, layout.outcome, of_outcome, mode)
      end
    end
  end
  add_records(work, layout, facts, layout.order, head, mode, true)
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
    mode = REPAIR
  elseif #order.outcomes >= MOST_OUTCOMES * OUTCOME_BYTES then
    return 0 -- as kernels.MOST_OUTCOMES in memory
  else
    local outcome = kind_and_time .. context.tag
    order.outcomes, order.more = order.outcomes .. outcome, order.more .. outcome
  end
  if order.placed then
    local layout = context.layout
    local is_old = context.now - unpack_('<I4', order.hours_bytes) >= REFRESH_HOURS
    add_records(
      work, layout, order.facts, layout.outcome, order.key .. kind_and_time, mode, false, is_old
    )
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
      order.placed, order.outcomes, order.more, order.rewrite = false, '', '', true
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
  local nothing = rep('\0', ORDER_BYTES + context.layout.facts)
  for _, order in ipairs(orders) do
    if order.rewrite and (order.changed or order.more ~= '') then
      local fixed = nothing
      if order.placed then fixed = order.time_bytes .. order.tag .. order.hours_bytes .. order.facts end
      call('SET', order.place, fixed .. order.outcomes, 'PXAT', context.expiry)
    elseif order.more ~= '' then
      call('APPEND', order.place, order.more)
      if context.now - unpack_('<I4', order.hours_bytes) >= REFRESH_HOURS then
        call('PEXPIRE', order.place, context.ttl)
      end
    end
  end
end

local function befores(orders)
  local keys, bytes = {}, {}
  for i, order in ipairs(orders) do keys[i], bytes[i] = order.key, order.before end
  return concat(keys), bytes
end

-- Timelines -------------------------------------------------------------------------------------

local function set(context, key, records)
  call('SET', key, NOTHING .. context.now_bytes .. records, 'PXAT', context.expiry)
end

-- Appends to a timeline that has this header; returns how long it is then.
local function append(context, key, header, records)
  local length = call('APPEND', key, records)
  if context.now - unpack_('<I4', header, 9) >= REFRESH_HOURS then
    call('SETRANGE', key, 8, context.now_bytes)
    call('PEXPIRE', key, context.ttl)
  end
  return length
end

-- What a client must know to fold a timeline, if it may have grown too long: generation u32, bytes
-- of its records u32, or 0 where they are others than were shown and those of this call.
local function long_of(context, view, length, is_as_shown)
  if length < HEADER_BYTES + context.long then return nil end
  local generation, tiles = 0, 0
  if view ~= '' then generation, tiles = unpack_('<I4I4', view, 1) end
  local records = length - HEADER_BYTES - tiles
  if records < context.long then return nil end
  return pack_('<I4I4', generation, is_as_shown and records or 0)
end

-- Whether a record that is not in a timeline may be in its tiles.
local function may_be_folded(timeline, item)
  if timeline == '' or unpack_('<I4', timeline, 5) == 0 then return false end
  local latest = HEADER_BYTES + 1
  if byte(item, 9) ~= 0 then latest = latest + 8 end
  return integer(item, 10) <= integer(timeline, latest)
end

-- Appends to one timeline; returns its bytes from before this call, if they are wanted or it is
-- long, and in that case `long_of` it.
local function touch(context, key, blob, items, wanted, is_old)
  if not (wanted or items) then -- only outcomes: need not be read
    local length
    if is_old then
      local header = call('GETRANGE', key, 0, HEADER_BYTES - 1)
      if header == '' then return set(context, key, blob) end
      length = append(context, key, header, blob)
    else
      length = call('APPEND', key, blob)
      if length == #blob then return set(context, key, blob) end -- it was not there
    end
    if length < HEADER_BYTES + context.long then return nil end
    local view = sub(call('GET', key), 1, length - #blob)
    local long = long_of(context, view, length, true)
    return long and view, long
  end
  local old = call('GET', key)
  local view = old or ''
  local length, is_as_shown = #view, true
  if items then
    local missing, seen, cut = {}, {}, #view + 1
    for i = 1, #items, 2 do
      local item, mode = items[i], items[i + 1]
      if mode == APPEND then
        missing[#missing + 1] = item
      else
        local needle = sub(item, 1, NEEDLE)
        local there = find(view, needle, HEADER_BYTES + 1, true)
        if there and mode == AGAIN and there < cut then cut = there end
        local is_missing = not (there or seen[needle])
          and not (mode >= AGAIN and may_be_folded(view, item))
        if is_missing then missing[#missing + 1] = item end
        seen[needle] = true
        -- Only of new records both the client and the timeline have one more.
        if mode == AGAIN or (mode == REPAIR) == is_missing then is_as_shown = false end
      end
    end
    blob = concat(missing)
    view = sub(view, 1, cut - 1)
  end
  if blob and blob ~= '' then
    if old then
      length = append(context, key, old, blob)
    else
      set(context, key, blob)
      length = HEADER_BYTES + #blob
    end
  end
  return view, long_of(context, old or '', length, is_as_shown)
end

-- Timelines as they were before a call, for its answer: keys, timelines, and of the long ones
-- their number, from 0, u32, and what `long_of` says.
local function new_shown()
  return { names = {}, views = {}, long = {} }
end

local function show(shown, key, view, long, wanted)
  if not (wanted or long) then return end
  local n = #shown.names
  shown.names[n + 1], shown.views[n + 1] = key, view
  if long then shown.long[#shown.long + 1] = pack_('<I4', n) .. long end
end

-- Functions -------------------------------------------------------------------------------------

-- KEYS: a meta. ARGV: its value if it is new; without, it is only read. Returns what it is.
local function open(keys, args)
  if args[1] then call('SET', keys[1], args[1], 'NX') end
  return call('GET', keys[1]) or ''
end

-- One server: both steps. KEYS: a meta. ARGV: context, heads, facts.
-- Returns newest, order keys, orders before, timeline keys, timelines before, `long_of`, turn.
local function apply(keys, args)
  local context = context(args)
  local meta = meta_of(keys[1], context)
  local turn = call('INCR', keys[1] .. ':turns') -- of all calls, from 1
  local work = new_work(context.layout)
  local orders, waiting = register(context, work, args[11], args[12])
  local shown, wanted = new_shown(), work.wanted
  for number = 1, work.n do
    local key = work.keys[number]
    local blob, items = work.blob[number], work.items[number]
    local view, long = touch(context, key, blob, items, wanted[number], work.is_old[number])
    show(shown, key, view, long, wanted[number])
  end
  keep_orders(context, orders)
  local newest = keep_meta(keys[1], meta, context, waiting)
  local order_keys, before = befores(orders)
  return { newest, order_keys, before, concat(shown.names), shown.views, concat(shown.long), turn }
end

-- Cluster, first step, the orders of one shard. KEYS: its meta. ARGV: as `apply`.
-- Returns newest, order keys, orders before, and of each timeline: its key, whether it is wanted,
-- how many records, then record, mode, record, mode …
local function orders_of_shard(keys, args)
  local context = context(args)
  local meta = meta_of(keys[1], context)
  local work = new_work(context.layout)
  local orders, waiting = register(context, work, args[11], args[12])
  keep_orders(context, orders)
  local newest = keep_meta(keys[1], meta, context, waiting)
  local order_keys, before = befores(orders)
  local steps = {}
  for number = 1, work.n do
    local items = work.items[number] or {}
    steps[#steps + 1] = work.keys[number]
    steps[#steps + 1] = work.wanted[number] and '1' or '0'
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
  local shown = new_shown()
  local at = 11
  while at <= #args do
    local key, wanted, n = args[at], args[at + 1] == '1', tonumber(args[at + 2])
    local items = {}
    for i = 1, n do
      items[2 * i - 1] = args[at + 1 + 2 * i]
      items[2 * i] = tonumber(args[at + 2 + 2 * i])
    end
    local view, long = touch(context, key, nil, n > 0 and items or nil, wanted)
    show(shown, key, view, long, wanted)
    at = at + 3 + 2 * n
  end
  local newest = keep_meta(keys[1], meta, context, 0)
  return { newest, concat(shown.names), shown.views, concat(shown.long) }
end

-- Puts tiles and records in the place of the tiles and first records of a timeline, unless somebody
-- else did so since it was read.
-- KEYS: the timeline. ARGV: generation it had, bytes of records to replace, tiles, records.
-- Returns 1, or 0 when it has another generation.
local function replace(keys, args)
  local bytes = call('GET', keys[1])
  if not bytes then return 0 end
  local generation, tiles = unpack_('<I4I4', bytes, 1)
  if generation ~= tonumber(args[1]) then return 0 end
  local rest = sub(bytes, HEADER_BYTES + tiles + tonumber(args[2]) + 1)
  local header = pack_('<I4I4', (generation + 1) % 4294967296, #args[3]) .. sub(bytes, 9, 12)
  call('SET', keys[1], header .. args[3] .. args[4] .. rest, 'KEEPTTL')
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
