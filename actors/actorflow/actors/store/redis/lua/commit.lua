--[[ One commit: every effect of many finished turns of one partition, or nothing of it.

Sent below a shebang line that `script.py` puts first. Sequence numbers, epochs and actor numbers are
compared as strings: a Lua number is a double and loses digits above 2^53.

KEYS: 1 meta, 2 messages, 3 parked, 4 due, 5 reminders, 6 outbox, 7 marks, then one index for each
actor type of the commit, then for each write its state and its log.
ARGV: 1 token, 2 commit id, 3 cursor, "" to leave it, 4 numbers, one blank between two: epoch,
prev_seq, seq, 1 when the sender found a fault; lowest created number, next actor number, first
message id, next message id (0 where the commit has none); then counts: types, writes, put messages,
deleted messages, parked messages that must be stored, all parked, put reminders, deleted reminders,
put outbox entries, outbox ranges to trim, marks.
Then, in this order: (id, row) of put messages; ids of deleted ones; (id, reason) of parked ones;
(due, member) and (member, row) of put reminders; members of deleted ones; ("0", entry) of the
outbox; (low, high) to trim; (source, row) of marks; and the writes, each with a head, explained at
`check_write`.

Few long arguments cost their sender less than many short ones.
]]
local epoch, prev_seq, seq, faulty, lowest_number, next_number, first_message, next_message, types,
  writes, puts, dels, stored_parks, parks, dues, gones, outs, trims, marks =
  string.match(ARGV[4], '^' .. string.rep('(%S+) ', 8) .. string.rep('(%d+) ', 10) .. '(%d+)$')
local token, commit_id = ARGV[1], ARGV[2]
local M = redis.call('HMGET', KEYS[1], 'epoch', 'owner', 'seq', 'last', 'number', 'message', 'ttl')

local function renew(...)
  local t = redis.call('TIME')
  local until_ms = t[1] * 1000 + math.floor(t[2] / 1000) + M[7]
  redis.call('HSET', KEYS[1], 'until', string.format('%.0f', until_ms), ...)
end

if not epoch then return {'BAD', 'the numbers cannot be read'} end
if M[1] ~= epoch or M[2] ~= token or token == '' then return {'FENCED', M[1] or ''} end
if M[4] == commit_id and commit_id ~= '' then
  renew() -- a write, so that a WAIT behind this answer waits for it
  return {'ALREADY', M[3]}
end
if M[3] ~= prev_seq then return {'SEQ', M[3]} end
if faulty == '1' then return {'BAD', 'the sender found a fault'} end

local CHUNK = 3990 -- arguments of one call; even, so that pairs stay together
types, writes = tonumber(types), tonumber(writes)
local at = 5
local SHARED = 7
local function take(count) -- reserve `count` arguments; answer the first and the last
  local first = at
  at = at + count
  return first, at - 1
end
local put_first, put_last = take(2 * puts)
local del_first, del_last = take(tonumber(dels))
local park_first, park_last = take(2 * parks)
local due_first, due_last = take(2 * dues)
local row_first, row_last = take(2 * dues)
local gone_first, gone_last = take(tonumber(gones))
local out_first, out_last = take(2 * outs)
local trim_first, trim_last = take(2 * trims)
local mark_first, mark_last = take(2 * marks)

local function below(a, b) -- a < b, for natural numbers without leading zeros
  if #a ~= #b then return #a < #b end
  return a < b
end

-- The first pass: checks alone. What it learns of a write is kept for the second pass.
local learned, touched = {}, {}

--[[ A write's head is one text, a blank between two words: kind (d delete, c create, w write, r write
after dropping the log), number, index of its type, length of its state's name before the key, count
of pairs to set, of fields to delete, of log entries, the length that the log must have, and to the
end the phase ("" unchanged, else "=" and the phase). Behind it what was counted. ]]
local HEAD = '^([dcwr]) (%S+) (%d+) (%d+) (%d+) (%d+) (%d+) (%S+) (.*)$'

local function check_write(j)
  local kind, number, index, bytes, pairs, fields, entries, length, phase =
    string.match(ARGV[take(1)], HEAD)
  index = tonumber(index)
  if not kind or index < 1 or index > types then return 'a write has a wrong head' end
  local state, log = KEYS[SHARED + types + 2 * j - 1], KEYS[SHARED + types + 2 * j]
  local write = {
    kind = kind, number = number, phase = phase, state = state, log = log,
    key = string.sub(state, bytes + 1), index = KEYS[SHARED + index]
  }
  learned[j] = write
  write.set_first, write.set_last = take(2 * pairs)
  write.del_first, write.del_last = take(tonumber(fields))
  write.add_first, write.add_last = take(tonumber(entries))
  local stored = redis.call('HMGET', state, 'n', 'p')
  write.phase_before = stored[2]
  local fault
  if kind == 'c' then
    if touched[state] == 'gone' then
      write.phase_before = false
    elseif stored[1] or touched[state] then
      fault = 'exists already'
    end
    touched[state] = 'created'
  elseif stored[1] ~= number then
    fault = 'does not exist under its number'
  elseif kind == 'd' then
    touched[state] = 'gone'
  elseif kind == 'w' and entries ~= '0' then
    if string.format('%.0f', redis.call('LLEN', log)) ~= length then
      fault = 'has a log of another length'
    end
  end
  return fault and 'actor ' .. number .. ' ' .. fault
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
  if lowest_number ~= '0' and below(lowest_number, M[5]) then
    return 'an actor number was used before'
  end
  if first_message ~= '0' and below(first_message, M[6]) then
    return 'a message id was used before'
  end
  for i = del_first, del_last do
    if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 0 then return 'a deleted message is not stored' end
  end
  for i = park_first, park_first + 2 * stored_parks - 1, 2 do
    if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 0 then return 'a parked message is not stored' end
  end
  for j = 1, writes do
    local fault = check_write(j)
    if fault then return fault end
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

local function forget(write)
  for _, field in ipairs(redis.call('HKEYS', write.state)) do
    if string.sub(field, 1, 1) == 'r' then
      local digits = write.number
      local member = string.char(96 + #digits) .. digits .. string.sub(field, 2)
      redis.call('ZREM', KEYS[4], member)
      redis.call('HDEL', KEYS[5], member)
    end
  end
  redis.call('ZREM', write.index, 'k' .. write.key)
  if write.phase_before then
    redis.call('ZREM', write.index, phase_member(write.phase_before, write.key))
  end
  redis.call('UNLINK', write.state, write.log)
end

local function reindex(write)
  local index, key, before = write.index, write.key, write.phase_before
  if write.phase == '' then -- created without a summary
    redis.call('ZADD', index, 0, 'k' .. key)
    return
  end
  local phase = string.sub(write.phase, 2)
  if write.kind == 'c' then -- its phase is among the pairs
    redis.call('ZADD', index, 0, 'k' .. key, 0, phase_member(phase, key))
    return
  end
  if phase == before then return end
  if before then redis.call('ZREM', index, phase_member(before, key)) end
  redis.call('ZADD', index, 0, phase_member(phase, key))
  redis.call('HSET', write.state, 'p', phase)
end

for j = 1, writes do
  local write = learned[j]
  if write.kind == 'd' then
    forget(write)
  else
    if write.kind == 'r' then redis.call('UNLINK', write.log) end
    call('HSET', write.state, write.set_first, write.set_last)
    call('HDEL', write.state, write.del_first, write.del_last)
    call('RPUSH', write.log, write.add_first, write.add_last)
    if write.kind == 'c' or write.phase ~= '' then reindex(write) end
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
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'cursor', ARGV[3]) end
renew('seq', seq, 'last', commit_id,
  'number', next_number ~= '0' and below(M[5], next_number) and next_number or M[5],
  'message', next_message ~= '0' and next_message or M[6])
return {'OK', seq}
