/**
 * The atomic steps on the key of a limit in Redis, one for each algorithm, on Redis's clock. Each message of a process
 * contains the complete state of its lease (how much it has leased and consumed, cumulative) and may request more
 * points. So a lost, repeated or overtaken message does no harm, the next message returns what a lost answer granted,
 * and a Redis that has lost its data learns again what was consumed.
 *
 * Each key is one hash with one field for each holder of a lease.
 */
import type { RedisClient } from '../../redis/connect.js'
import { WHOLE } from '../../redis/lua.js'
import { REPAIRING_CALL } from '../repair.js'

/**
 * Fixed window. The hash expires with its window: w = window, l = leased and c = consumed by all, and for each holder
 * `<leased> <consumed> <message>`. No more than `points` are ever leased, so no more are admitted.
 *
 * KEYS hash · ARGV 1 duration in ms, 2 points, 3 holder, 4 number of the message, 5 window of the message, 6 leased, 7
 * consumed, 8 wanted, 9 maximum size of a lease, 10 '1': the last message of the holder.
 * Returns window, leased by the holder, granted now, left, consumed by all, ms to the end of the window, Redis's time.
 */
const WINDOW = `${REPAIRING_CALL}${WHOLE}
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local duration, points = ARGV[1] * 1000, tonumber(ARGV[2])
local window = math.floor(now / duration)
local hash = call('HMGET', KEYS[1], 'w', 'l', 'c', ARGV[3])
local stored = tonumber(hash[1])
-- If the clock is set back a little, a window must not begin twice.
if stored == window + 1 then window = stored end
local total, used = whole(hash[2]), whole(hash[3])
local leased, consumed, message = 0, 0, 0
if stored == window and total and used then
  local l, c, m = string.match(hash[4] or '', '^(%d+) (%d+) (%d+)$')
  leased, consumed, message = whole(l) or 0, whole(c) or 0, whole(m) or 0
else
  stored, total, used = nil, 0, 0
  redis.call('DEL', KEYS[1])
end
-- Rounded down, so that a lease ends with its window.
local remaining = math.floor(((window + 1) * duration - now) / 1000)
local granted = 0
if tonumber(ARGV[4]) > message then
  local messageWindow = tonumber(ARGV[5])
  if messageWindow == window then
    local newConsumed = tonumber(ARGV[7])
    local newLeased = math.max(tonumber(ARGV[6]), newConsumed)
    total, used = total + newLeased - leased, used + newConsumed - consumed
    leased, consumed = newLeased, newConsumed
  end
  local free, wanted, size = points - total, tonumber(ARGV[8]), tonumber(ARGV[9])
  -- A holder that is already in the next window no longer knows what it consumed in this one.
  if free > 0 and size > 0 and messageWindow <= window then
    local holders = math.max(1, redis.call('HLEN', KEYS[1]) - 3 + (hash[4] and 0 or 1))
    granted = math.min(free, math.max(wanted, math.min(size, math.floor(free / (2 * holders)))))
    leased, total = leased + granted, total + granted
  end
  redis.call('HSET', KEYS[1], 'w', window, 'l', total, 'c', used)
  if ARGV[10] == '1' then
    redis.call('HDEL', KEYS[1], ARGV[3])
  else
    redis.call('HSET', KEYS[1], ARGV[3], string.format('%d %d %d', leased, consumed, ARGV[4]))
  end
  if stored ~= window then redis.call('PEXPIRE', KEYS[1], remaining + 1) end
end
return {window, leased, granted, points - total, used, remaining, math.floor(now / 1000)}
`

/**
 * Token bucket. t = tokens, u = time of t, and for each holder `<leased> <consumed> <message> <expiry>`. At all times
 * tokens + leased and not consumed ≤ capacity, and tokens are added only by refill or when they are returned. So over
 * any span at most capacity + refill × span are admitted. An expired lease counts as consumed. The hash expires when
 * the bucket is full and nothing is leased.
 *
 * KEYS hash · ARGV 1 capacity, 2 refill per second, 3 holder, 4 number of the message, 5 leased, 6 consumed, 7 wanted,
 * 8 maximum size of a lease, 9 duration of a lease in ms, 10 tokens if there is no hash (the bucket is full, or Redis
 * has lost it), 11 '1': the last message of the holder.
 * Returns leased by the holder, granted now, whole tokens left, ms until the missing tokens (at least one) are added.
 */
const BUCKET = `${REPAIRING_CALL}${WHOLE}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local capacity, refill = tonumber(ARGV[1]), tonumber(ARGV[2]) / 1000
local newLeased = math.max(tonumber(ARGV[5]), tonumber(ARGV[6]))
local consumed = tonumber(ARGV[6])
local tokens, at = tonumber(ARGV[10]), now
local out, holders, mine = 0, 1, nil
local hash = call('HGETALL', KEYS[1])
for i = 1, #hash, 2 do
  local field, value = hash[i], hash[i + 1]
  if field == 't' then tokens = math.max(0, math.min(capacity, tonumber(value) or capacity))
  elseif field == 'u' then at = whole(value) or now
  else
    local l, c, m, e = string.match(value, '^(%d+) (%d+) (%d+) (%d+)$')
    l, c, m, e = whole(l), whole(c), whole(m), whole(e)
    -- Also one that no process of the kit can have written: it would expire later than a new one.
    if not (l and c and m and e) or e <= now or e > now + 2 * ARGV[9] then
      redis.call('HDEL', KEYS[1], field)
    elseif field == ARGV[3] then
      mine = {leased = l, out = l - c, message = m}
    else
      out, holders = out + (l - c), holders + 1
    end
  end
end
-- As in token-bucket.ts: rounding must not refuse a request after exactly the wait that was announced.
local function floored(number) return math.floor(number + 1e-6) end
if mine and mine.message >= tonumber(ARGV[4]) then return {mine.leased, 0, floored(tokens), 0} end
tokens = math.min(capacity - out - (mine and mine.out or 0), tokens + math.max(0, now - at) * refill)
-- Returned tokens are added, tokens consumed without a lease are subtracted.
local leased = mine and newLeased or consumed
tokens = tokens - (mine and newLeased - mine.leased or math.max(0, consumed - tonumber(ARGV[5])))
tokens = math.max(0, math.min(capacity - out - (leased - consumed), tokens))
local granted, wanted, size = 0, tonumber(ARGV[7]), tonumber(ARGV[8])
if size > 0 then
  granted = math.min(floored(tokens), math.max(wanted, math.min(size, math.floor(tokens / (2 * holders)))))
end
leased, tokens = leased + granted, tokens - granted
redis.call('HSET', KEYS[1], 't', tokens, 'u', now)
if ARGV[11] == '1' then
  redis.call('HDEL', KEYS[1], ARGV[3])
else
  redis.call('HSET', KEYS[1], ARGV[3], string.format('%d %d %d %d', leased, consumed, ARGV[4], now + ARGV[9]))
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((capacity - tokens) / refill) + ARGV[9]))
-- Other holders may return tokens at any time.
local wait = out > 0 and 0 or math.ceil(math.max(0, math.max(1, wanted - granted) - tokens) / refill)
return {leased, granted, floored(tokens), wait}
`

/**
 * Returns points of the exact limiter, only within the window in which they were counted.
 * KEYS counter · ARGV 1 points, 2 the maximum rest of that window in ms.
 */
const GIVE_BACK = `
local remaining = redis.call('PTTL', KEYS[1])
if remaining <= 0 or remaining > tonumber(ARGV[2]) then return 0 end
redis.call('DECRBY', KEYS[1], ARGV[1])
return 1
`

/** What a process sends to Redis for one key, and the handler of the answer. */
export interface Message {
  readonly command: 'sseLimitWindow' | 'sseLimitBucket'
  /** The key, then the script's ARGV. */
  readonly args: readonly (string | number)[]
  /** @param sentAt on the local clock */
  readonly receive: (answer: readonly number[], sentAt: number) => void
}

type Run = (...args: (string | number)[]) => Promise<readonly number[]>

export type LimiterScripts = Readonly<Record<Message['command'], Run>> & {
  sseLimitGiveBack(key: string, points: number, longestMs: number): Promise<number>
}

/** Adds the scripts to a connection. They are sent by hash, and in full if Redis does not know them. */
export function withLimiterScripts<C extends RedisClient>(client: C): C & LimiterScripts {
  client.defineCommand('sseLimitWindow', { numberOfKeys: 1, lua: WINDOW })
  client.defineCommand('sseLimitBucket', { numberOfKeys: 1, lua: BUCKET })
  client.defineCommand('sseLimitGiveBack', { numberOfKeys: 1, lua: GIVE_BACK })
  return client as C & LimiterScripts
}
