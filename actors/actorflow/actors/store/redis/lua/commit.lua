--[[ One commit: every effect of many finished turns of one partition, or nothing of it.

Sent below a shebang line that `script.py` puts first. Sequence numbers, epochs and actor numbers are
compared as strings: a Lua number is a double and loses digits above 2^53.

KEYS: 1 meta, 2 messages, 3 parked, 4 due, 5 reminders, 6 outbox, 7 marks, then one index for each
actor type of the commit, then for each write its state and its log.
ARGV: 1 epoch, 2 token, 3 prev_seq, 4 seq, 5 commit id, 6 "1" when the sender found a fault,
7 lowest created number, 8 next actor number, 9 first message id, 10 next message id ("" where the
commit has none), then counts: 11 types, 12 writes, 13 put messages, 14 deleted messages,
15 parked messages that must be stored, 16 all parked, 17 put reminders, 18 deleted reminders,
19 put outbox entries, 20 outbox ranges to trim, 21 marks; 22 cursor, "" to leave it.
Then, in this order: the length of the state prefix of each type; (id, row) of put messages; ids of
deleted ones; (id, reason) of parked ones; (due, member) and (member, row) of put reminders; members
of deleted ones; ("0", entry) of the outbox; (low, high) to trim; (source, row) of marks; and the
writes, each with a head of eight, explained at `check_write`.
]]
local M = redis.call('HMGET', KEYS[1], 'epoch', 'owner', 'seq', 'last', 'number', 'message', 'ttl')

local function renew(...)
  local t = redis.call('TIME')
  local until_ms = t[1] * 1000 + math.floor(t[2] / 1000) + M[7]
  redis.call('HSET', KEYS[1], 'until', string.format('%.0f', until_ms), ...)
end

if M[1] ~= ARGV[1] or M[2] ~= ARGV[2] or ARGV[2] == '' then return {'FENCED', M[1] or ''} end
if M[4] == ARGV[5] and ARGV[5] ~= '' then
  renew() -- a write, so that a WAIT behind this answer waits for it
  return {'ALREADY', M[3]}
end
if M[3] ~= ARGV[3] then return {'SEQ', M[3]} end
if ARGV[6] == '1' then return {'BAD', 'the sender found a fault'} end

local CHUNK = 3990 -- arguments of one call; even, so that pairs stay together
local ATTRIBUTES = 8
local types, writes = tonumber(ARGV[11]), tonumber(ARGV[12])
local at = 23
local SHARED = 7
local function take(count) -- reserve `count` arguments; answer the first and the last
  local first = at
  at = at + count
  return first, at - 1
end
local prefix = take(types) - 1
local put_first, put_last = take(2 * ARGV[13])
local del_first, del_last = take(tonumber(ARGV[14]))
local park_first, park_last = take(2 * ARGV[16])
local due_first, due_last = take(2 * ARGV[17])
local row_first, row_last = take(2 * ARGV[17])
local gone_first, gone_last = take(tonumber(ARGV[18]))
local out_first, out_last = take(2 * ARGV[19])
local trim_first, trim_last = take(2 * ARGV[20])
local mark_first, mark_last = take(2 * ARGV[21])

local function below(a, b) -- a < b, for natural numbers without leading zeros
  if #a ~= #b then return #a < #b end
  return a < b
end

-- The first pass: checks alone. What it learns of a write is kept for the second pass.
local start, type_of, sets, dels, adds, phase_before = {}, {}, {}, {}, {}, {}
local touched = {}
local KINDS = {d = true, c = true, w = true, r = true}

local function count(text) -- a whole number from 0, or an error that ends the checks
  local number = tonumber(text)
  assert(number and number >= 0 and number % 1 == 0, 'a count is no number')
  return number
end

--[[ A write's head: kind (d delete, c create, w write, r write after dropping the log), number,
index of its type, phase ("" unchanged, else "=" and the phase), count of pairs to set, of fields to
delete, of log entries, and the length that the log must have. Behind it what was counted. ]]
local function check_write(j)
  local head, _ = take(ATTRIBUTES)
  start[j] = head
  sets[j] = take(2 * count(ARGV[head + 4]))
  dels[j] = take(count(ARGV[head + 5]))
  adds[j] = take(count(ARGV[head + 6]))
  type_of[j] = count(ARGV[head + 2])
  if not KINDS[ARGV[head]] or type_of[j] < 1 or type_of[j] > types then return 'has a wrong head' end
  local state = KEYS[SHARED + types + 2 * j - 1]
  local kind = ARGV[head]
  local stored = redis.call('HMGET', state, 'n', 'p')
  phase_before[j] = stored[2]
  if kind == 'c' then
    if touched[state] == 'gone' then
      phase_before[j] = false
    elseif stored[1] or touched[state] then
      return 'exists already'
    end
    touched[state] = 'created'
    return nil
  end
  if stored[1] ~= ARGV[head + 1] then return 'does not exist under its number' end
  if kind == 'd' then
    touched[state] = 'gone'
  elseif kind == 'w' and ARGV[head + 6] ~= '0' then
    local length = redis.call('LLEN', KEYS[SHARED + types + 2 * j])
    if string.format('%.0f', length) ~= ARGV[head + 7] then return 'has a log of another length' end
  end
  return nil
end

local function check()
  -- Reading them finds a key of a wrong type now, not between two writes.
  redis.call('HLEN', KEYS[2])
  redis.call('HLEN', KEYS[3])
  redis.call('ZCARD', KEYS[4])
  redis.call('HLEN', KEYS[5])
  redis.call('ZCARD', KEYS[6])
  redis.call('HLEN', KEYS[7])
  for i = 1, types do redis.call('ZCARD', KEYS[SHARED + i]) end
  if ARGV[7] ~= '' and below(ARGV[7], M[5]) then return 'an actor number was used before' end
  if ARGV[9] ~= '' and below(ARGV[9], M[6]) then return 'a message id was used before' end
  for i = del_first, del_last do
    if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 0 then return 'a deleted message is not stored' end
  end
  for i = park_first, park_first + 2 * ARGV[15] - 1, 2 do
    if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 0 then return 'a parked message is not stored' end
  end
  for i = 1, types do count(ARGV[prefix + i]) end
  for j = 1, writes do
    local fault = check_write(j)
    if fault then return 'actor ' .. ARGV[start[j] + 1] .. ' ' .. fault end
  end
  if at ~= #ARGV + 1 or #KEYS ~= SHARED + types + 2 * writes then return 'counts do not fit' end
  return nil
end

local ran, fault = pcall(check)
if not ran then return {'BAD', 'a check failed: ' .. tostring(type(fault) == 'table' and fault.err or fault)} end
if fault then return {'BAD', fault} end

-- The second pass: writes alone. Nothing below may fail.
local function call(name, key, first, last)
  for i = first, last, CHUNK do
    redis.call(name, key, unpack(ARGV, i, math.min(i + CHUNK - 1, last)))
  end
end

local function phase_member(phase, key) return 'p' .. #phase .. ':' .. phase .. key end

local function forget(j, head)
  local state, index = KEYS[SHARED + types + 2 * j - 1], KEYS[SHARED + type_of[j]]
  local key = string.sub(state, ARGV[prefix + type_of[j]] + 1)
  for _, field in ipairs(redis.call('HKEYS', state)) do
    if string.sub(field, 1, 1) == 'r' then
      local digits = ARGV[head + 1]
      local member = string.char(96 + #digits) .. digits .. string.sub(field, 2)
      redis.call('ZREM', KEYS[4], member)
      redis.call('HDEL', KEYS[5], member)
    end
  end
  redis.call('ZREM', index, 'k' .. key)
  if phase_before[j] then redis.call('ZREM', index, phase_member(phase_before[j], key)) end
  redis.call('UNLINK', state, KEYS[SHARED + types + 2 * j])
end

local function reindex(j, head, kind)
  local state, index = KEYS[SHARED + types + 2 * j - 1], KEYS[SHARED + type_of[j]]
  local key = string.sub(state, ARGV[prefix + type_of[j]] + 1)
  if ARGV[head + 3] == '' then -- created without a summary
    redis.call('ZADD', index, 0, 'k' .. key)
    return
  end
  local phase = string.sub(ARGV[head + 3], 2)
  if kind == 'c' then -- its phase is among the pairs
    redis.call('ZADD', index, 0, 'k' .. key, 0, phase_member(phase, key))
    return
  end
  if phase == phase_before[j] then return end
  if phase_before[j] then redis.call('ZREM', index, phase_member(phase_before[j], key)) end
  redis.call('ZADD', index, 0, phase_member(phase, key))
  redis.call('HSET', state, 'p', phase)
end

for j = 1, writes do
  local head = start[j]
  local kind = ARGV[head]
  if kind == 'd' then
    forget(j, head)
  else
    local state, log = KEYS[SHARED + types + 2 * j - 1], KEYS[SHARED + types + 2 * j]
    if kind == 'r' then redis.call('UNLINK', log) end
    call('HSET', state, sets[j], dels[j] - 1)
    call('HDEL', state, dels[j], adds[j] - 1)
    call('RPUSH', log, adds[j], adds[j] + ARGV[head + 6] - 1)
    if kind == 'c' or ARGV[head + 3] ~= '' then reindex(j, head, kind) end
  end
end
call('HDEL', KEYS[2], del_first, del_last)
if del_last >= del_first and redis.call('EXISTS', KEYS[3]) == 1 then
  call('HDEL', KEYS[3], del_first, del_last)
end
call('HSET', KEYS[2], put_first, put_last)
call('HSET', KEYS[3], park_first, park_last)
call('ZADD', KEYS[4], due_first, due_last)
call('HSET', KEYS[5], row_first, row_last)
call('ZREM', KEYS[4], gone_first, gone_last)
call('HDEL', KEYS[5], gone_first, gone_last)
call('ZADD', KEYS[6], out_first, out_last)
for i = trim_first, trim_last, 2 do
  redis.call('ZREMRANGEBYLEX', KEYS[6], ARGV[i], ARGV[i + 1])
end
call('HSET', KEYS[7], mark_first, mark_last)
if ARGV[22] ~= '' then redis.call('HSET', KEYS[1], 'cursor', ARGV[22]) end
renew('seq', ARGV[4], 'last', ARGV[5],
  'number', ARGV[8] ~= '' and below(M[5], ARGV[8]) and ARGV[8] or M[5],
  'message', ARGV[10] ~= '' and ARGV[10] or M[6])
return {'OK', ARGV[4]}
