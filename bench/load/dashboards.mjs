/**
 * The users of a dashboard, all in one process: each loads it, then either polls on the usual timers or opens a stream
 * of the kit, like the example's page. In both cases it records when a message was first shown in the list, and in its
 * thread if that is open.
 */
import { Agent, get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import jwt from 'jsonwebtoken'
import { createEventStream } from '../../dist/client/index.js'
import { optionsOf } from '../harness/processes.mjs'
import { quantile } from '../harness/stats.mjs'
import { CONVERSATIONS, conversationId, numberOf, TENANTS } from '../servers/inbox.mjs'
import { nowMicros } from './pace.mjs'

const { port, users, streaming, secret } = optionsOf()
const base = `http://127.0.0.1:${port}/api/v1`
/** 12 + 6 + 3 + 1 = 22 requests a minute. */
const LIST_INTERVAL_MS = 5000
const THREAD_INTERVAL_MS = 10_000
const STATUS_INTERVAL_MS = 20_000
const PROFILE_INTERVAL_MS = 60_000
/** Longer than the longest of the intervals that show messages. */
const OVERDUE_MS = 15_000
const SETTLE_MS = 300
const OPENING_AT_ONCE = 10

const everyone = Array.from({ length: users }, (_, index) => openUser(index))
const queue = [...everyone]
await Promise.all(
  Array.from({ length: OPENING_AT_ONCE }, async () => {
    for (let user = queue.shift(); user; user = queue.shift()) await (streaming ? user.stream() : user.load())
  }),
)
// Started only now, so that the cost of opening is counted separately.
if (!streaming) for (const user of everyone) user.poll()
process.on('disconnect', () => process.exit())
process.on('message', async ({ messages }) => process.send({ type: 'shown', ...(await shown(messages)) }))
process.send({ type: 'ready' })

function openUser(index) {
  const tenants = Object.keys(TENANTS)
  const tenant = tenants[index % tenants.length]
  const thread = conversationId(Math.floor(index / tenants.length) % CONVERSATIONS)
  const token = jwt.sign({ tenant }, secret, { algorithm: 'HS256', subject: `user.${index}`, expiresIn: 3600 })
  // As many connections as a browser opens.
  const agent = new Agent({ keepAlive: true, maxSockets: 6 })
  const inList = openView()
  const inThread = openView()
  const load = (path) => getJson(agent, `${base}${path}`, token)

  const loadList = async () => {
    const { items, cursor } = await load('/conversations')
    for (const { lastMessageId } of items) inList.upTo(lastMessageId)
    return cursor
  }
  const loadThread = async () => {
    const { items, cursor } = await load(`/conversations/${thread}/messages`)
    inThread.upTo(items.at(-1).id)
    return cursor
  }

  return {
    tenant,
    thread,
    inList,
    inThread,
    async load() {
      await Promise.all(['/profile', '/tenant', '/features', '/channels'].map(load))
      await Promise.all([loadList(), loadThread()])
    },
    poll() {
      every(LIST_INTERVAL_MS, loadList)
      every(THREAD_INTERVAL_MS, loadThread)
      every(STATUS_INTERVAL_MS, () => load('/channels/status'))
      every(PROFILE_INTERVAL_MS, () => load('/profile'))
    },
    async stream() {
      await load('/dashboard/init')
      const cursor = await loadList()
      await loadThread()
      // One stream for both list and thread: its events contain the message.
      await follow('/sse/conversations', { cursor, token }, 'new_message', ({ conversation_id: to, message }) => {
        inList.add(message.id)
        if (to === thread) inThread.add(message.id)
      })
    },
  }
}

/** After a random time, because users do not open their dashboards at the same moment. */
function every(intervalMs, request) {
  setTimeout(() => {
    request()
    setInterval(request, intervalMs)
  }, Math.random() * intervalMs)
}

/** Resolves when the stream is open. */
function follow(path, { cursor, token }, type, onEvent) {
  return new Promise((resolve) => {
    const onState = ({ state, reason }) => {
      if (state === 'open') resolve()
      if (state === 'waiting' || state === 'closed') throw new Error(`A stream was interrupted: ${reason}`)
    }
    const stream = createEventStream(`${base}${path}`, { cursor, token: () => token, onState })
    stream.on(type, ({ data }) => onEvent(JSON.parse(data)))
    for (const loss of ['sse.gap', 'sse.reset']) {
      stream.on(loss, () => {
        throw new Error(`A stream announced a loss: ${loss}`)
      })
    }
  })
}

function getJson(agent, url, token) {
  return new Promise((resolve, reject) => {
    get(url, { agent, headers: { Authorization: `Bearer ${token}`, Accept: 'application/json' } }, async (res) => {
      let body = ''
      for await (const chunk of res.setEncoding('utf8')) body += chunk
      if (res.statusCode === 200) resolve(JSON.parse(body))
      else reject(new Error(`${url} answered ${res.statusCode}`))
    }).on('error', reject)
  })
}

/** When each message was shown on the page. */
function openView() {
  const latest = new Map()
  const times = new Map()
  const view = {
    times,
    doubled: 0,
    add(id) {
      if (times.has(id)) view.doubled++
      else times.set(id, nowMicros())
    },
    /** For pages that poll: this message is shown now, and all earlier ones of its conversation. */
    upTo(id) {
      const conversation = id.slice(0, id.lastIndexOf('.'))
      const number = numberOf(id)
      const from = latest.get(conversation) ?? number
      for (let next = from + 1; next <= number; next++) view.add(`${conversation}.${next}`)
      latest.set(conversation, number)
    },
  }
  return view
}

/** Waits until all messages are shown to all users. */
async function shown(messages) {
  const overdue = performance.now() + OVERDUE_MS
  while (missingOf(messages) > 0 && performance.now() < overdue) await sleep(50)
  await sleep(SETTLE_MS)
  const ids = new Set(messages.map(({ id }) => id))
  let doubled = 0
  for (const { inList, inThread } of everyone) {
    doubled += inList.doubled + inThread.doubled
    // Messages that were never sent.
    for (const view of [inList, inThread]) for (const id of view.times.keys()) if (!ids.has(id)) doubled++
  }
  const list = delaysOf(messages, ({ inList }) => inList)
  const thread = delaysOf(messages, ({ inThread, thread: open }, { conversation }) =>
    conversation === open ? inThread : undefined,
  )
  return { missing: missingOf(messages), doubled, list, thread }
}

/** @param viewOf where the user is shown this message, or `undefined` */
function delaysOf(messages, viewOf) {
  const delays = []
  for (const user of everyone) {
    for (const message of messages) {
      const view = user.tenant === message.tenant ? viewOf(user, message) : undefined
      const time = view?.times.get(message.id)
      if (time !== undefined) delays.push((time - message.at) / 1000)
    }
  }
  return { count: delays.length, median: quantile(delays, 0.5), p95: quantile(delays, 0.95) }
}

function missingOf(messages) {
  let missing = 0
  for (const { tenant, thread, inList, inThread } of everyone) {
    for (const { id, conversation, tenant: of } of messages) {
      if (of !== tenant) continue
      if (!inList.times.has(id)) missing++
      if (conversation === thread && !inThread.times.has(id)) missing++
    }
  }
  return missing
}
