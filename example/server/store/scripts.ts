/** The operations of the inbox as Lua scripts, each atomic. All keys of a tenant share one hash tag; see redis.ts. */
import type { Cluster, Redis } from 'ioredis'

/** The reply of HGETALL inside a script: names and values, alternating. */
export type FlatHash = readonly string[]

const UPSERT = `
-- KEYS: conversation, conversations   ARGV: id, contact's name or '', contact's id, then other fields and their values
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'lastText', '', 'lastAt', '', 'unread', '0', 'contact', ARGV[3], unpack(ARGV, 4))
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
end
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'contact', ARGV[2]) end
return redis.call('HGETALL', KEYS[1])
`

const APPEND = `
-- KEYS: conversation, conversations, order, messages
-- ARGV: conversation id, message id, message, text, at, ms, direction, kept
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local before = redis.call('HGET', KEYS[4], ARGV[2])
if before then return { 0, before, redis.call('HGETALL', KEYS[1]) } end
redis.call('HSET', KEYS[4], ARGV[2], ARGV[3])
if redis.call('RPUSH', KEYS[3], ARGV[2]) > tonumber(ARGV[8]) then
  redis.call('HDEL', KEYS[4], redis.call('LPOP', KEYS[3]))
end
-- A message that arrives late does not become the newest. ISO 8601 in UTC sorts as text.
if ARGV[5] >= redis.call('HGET', KEYS[1], 'lastAt') then
  redis.call('HSET', KEYS[1], 'lastText', ARGV[4], 'lastAt', ARGV[5])
  redis.call('ZADD', KEYS[2], ARGV[6], ARGV[1])
end
if ARGV[7] == 'in' then redis.call('HINCRBY', KEYS[1], 'unread', 1) else redis.call('HSET', KEYS[1], 'unread', 0) end
return { 1, ARGV[3], redis.call('HGETALL', KEYS[1]) }
`

const LIST = `
-- KEYS: conversations   ARGV: prefix of the conversations' keys, limit
local found = {}
for i, id in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, ARGV[2] - 1)) do
  found[i] = redis.call('HGETALL', ARGV[1] .. id)
end
return found
`

const MESSAGES = `
-- KEYS: order, messages   ARGV: limit
local ids = redis.call('LRANGE', KEYS[1], -ARGV[1], -1)
if #ids == 0 then return {} end
return redis.call('HMGET', KEYS[2], unpack(ids))
`

const MARK_READ = `
-- KEYS: conversation
local unread = redis.call('HGET', KEYS[1], 'unread')
if not unread or unread == '0' then return 0 end
redis.call('HSET', KEYS[1], 'unread', '0')
return 1
`

interface InboxScripts {
  inboxUpsert(conversation: string, conversations: string, ...args: string[]): Promise<FlatHash>
  inboxAppend(
    conversation: string,
    conversations: string,
    order: string,
    messages: string,
    ...args: string[]
  ): Promise<readonly [added: number, message: string, conversation: FlatHash] | null>
  inboxList(conversations: string, ...args: string[]): Promise<readonly FlatHash[]>
  inboxMessages(order: string, messages: string, ...args: string[]): Promise<readonly string[]>
  inboxMarkRead(conversation: string): Promise<number>
}

export type InboxClient = (Redis | Cluster) & InboxScripts

/** Adds the scripts to a connection. ioredis calls them by hash, and sends the source if Redis does not have it. */
export function withInboxScripts(client: Redis | Cluster): InboxClient {
  client.defineCommand('inboxUpsert', { numberOfKeys: 2, lua: UPSERT })
  client.defineCommand('inboxAppend', { numberOfKeys: 4, lua: APPEND })
  client.defineCommand('inboxList', { numberOfKeys: 1, lua: LIST })
  client.defineCommand('inboxMessages', { numberOfKeys: 2, lua: MESSAGES })
  client.defineCommand('inboxMarkRead', { numberOfKeys: 1, lua: MARK_READ })
  return client as InboxClient
}
