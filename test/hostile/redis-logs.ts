/**
 * What a foreign, an older or a broken program writes where the kit keeps its logs: messages on the pub/sub channels,
 * entries and fields of logs, keys of another type, signals between processes. One channel is attacked, another one
 * must not notice, and what the attacked one sends must stay well-formed.
 */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Redis } from 'ioredis'
import { printPayload } from '../../lib/broker/redis/payload.js'
import {
  createMultiplexer,
  createPressure,
  createRevocations,
  createStore,
  type KeyValueStore,
  type Multiplexer,
  SseError,
} from '../../lib/index.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { eventually } from '../helpers/eventually.js'
import { RedisServer } from '../helpers/redis-server.js'
import { SseClient } from '../helpers/sse-client.js'
import type { Random } from '../proof/random.js'
import { type Area, type Findings, inParallel } from './area.js'
import { invalidFrame } from './frames.js'
import { hostileBytes, hostileText, hostileValue, mutate } from './hostile-text.js'

const WIDTH = 8
const EPOCHS = ['abcdef', '', '-', 'ABC', 'a b', 'x\r\ndata: x\r\n\r\n', 'é', 'a'.repeat(5000), '__proto__']
const NUMBERS = [
  '',
  '0',
  '1',
  '2',
  '3',
  '-1',
  '1.5',
  ' 7',
  '0x10',
  '1e300',
  'inf',
  'nan',
  '9007199254740993',
  '9'.repeat(30),
]
const IDS = ['1-0', '2-0', '3-0', '3-1', '4-7', '5-0', '40-0', '9007199254740993-0', '18446744073709551615-0']

interface Target {
  readonly channel: string
  readonly admin: Redis
  readonly random: Random
}

function payload(random: Random): Buffer {
  const events = Array.from({ length: random.below(4) + 1 }, (_, i) =>
    encodePublished({ event: 'n', data: `${i} ${random.pick(['', 'x', '\n'])}`, ephemeral: random.chance(0.1) }),
  )
  const right = Buffer.from(printPayload(events, Date.now()))
  if (random.chance(0.4)) return right
  if (random.chance(0.5)) return mutate(right, random)
  const body = Buffer.from(hostileText(random, 1))
  return random.chance(0.7) ? Buffer.concat([Buffer.from(`${body.length} n 0 \n`), body]) : hostileBytes(random, 60)
}

const pick = (random: Random, all: readonly string[]) => (random.chance(0.8) ? random.pick(all) : hostileText(random))

const ATTACKS: Readonly<Record<string, (target: Target) => Promise<unknown>>> = {
  message: async ({ channel, admin, random }) => {
    const epoch = random.chance(0.6)
      ? ((await admin.hget(`sse:{${channel}}:m`, 'e')) ?? 'abcdef')
      : pick(random, EPOCHS)
    const head = Buffer.from(`${epoch} ${pick(random, NUMBERS)}\n`)
    return admin.publish(`sse:{${channel}}`, Buffer.concat([head, payload(random)]))
  },
  junk: ({ channel, admin, random }) => admin.publish(`sse:{${channel}}`, hostileBytes(random, 100)),
  entry: async ({ channel, admin, random }) => {
    const field = random.chance(0.8) ? 'p' : hostileText(random)
    const more = random.chance(0.2) ? ['q', hostileText(random)] : []
    await admin.xadd(`sse:{${channel}}:s`, random.pick(IDS), field, payload(random), ...more)
  },
  meta: ({ channel, admin, random }) => {
    const field = random.pick(['e', 'e', 'o', 'o', 'r', 'p', 'x'])
    const value = { e: EPOCHS, o: NUMBERS, p: ['abcdef-1', 'abcdef-x', '...', 'a-1.'.repeat(9000)] }[field] ?? ['', 'x']
    return admin.hset(`sse:{${channel}}:m`, field, pick(random, value))
  },
  noMeta: ({ channel, admin, random }) => admin.hdel(`sse:{${channel}}:m`, random.pick(['e', 'o', 'r', 'p'])),
  wrongType: ({ channel, admin, random }) =>
    admin.set(`sse:{${channel}}:${random.pick(['m', 's'])}`, hostileText(random)),
  attempts: async ({ channel, admin, random }) => {
    for (const key of await admin.keys(`sse:{${channel}}:[ai]:*`)) {
      if (random.chance(0.2)) await admin.multi().del(key).lpush(key, 'x').exec()
      else
        await admin.set(
          key,
          random.pick([hostileText(random), '5 abcdef-x', 'x abcdef-1', `${'9'.repeat(400)} a-1`, '']),
        )
    }
  },
  signal: ({ admin, random }) => admin.publish('sse:signal', signal(random)),
}

function signal(random: Random): Buffer {
  const known = random.pick([
    { ack: { stream: hostileText(random), cursor: hostileText(random), buffer: hostileValue(random) } },
    { evict: hostileValue(random) },
    { revoked: { tenant: hostileValue(random), at: random.pick([1, -1, 'x', 2 ** 53, Number.NaN]) } },
    { revoked: { tenant: 'nobody', user: hostileValue(random), at: 1 } },
    { revoked: { tokenId: hostileValue(random), at: 1 } },
    { revoked: hostileValue(random) },
    hostileValue(random),
  ])
  const text = Buffer.from(JSON.stringify(known))
  return random.chance(0.3) ? mutate(text, random) : text
}

class LogsSite {
  readonly multiplexer: Multiplexer
  readonly #store: KeyValueStore
  readonly #server: Server

  constructor(redis: string) {
    this.#store = createStore({ redis })
    const revocations = createRevocations({ store: this.#store })
    this.multiplexer = createMultiplexer({
      redis,
      lingerMs: 0,
      tailEntries: 1,
      stream: { heartbeatMs: 60_000, revocations, pressure: createPressure({ maxLoopDelayMs: 0 }) },
    })
    const channelOf = (req: { url?: string }) => new URLSearchParams(req.url?.split('?')[1]).getAll('channel')
    const [stream, poll] = [this.multiplexer.stream(channelOf), this.multiplexer.poll(channelOf)]
    this.#server = createServer((req, res) => {
      const route = req.url?.startsWith('/poll') ? poll : stream
      void route(req, res, (error) => res.writeHead(500).end(String(error)))
    })
  }

  async listen(): Promise<string> {
    await once(this.#server.listen(0, '127.0.0.1'), 'listening')
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async stop(): Promise<void> {
    await this.multiplexer.close()
    await this.#store.close()
    this.#server.close()
    this.#server.closeAllConnections()
  }
}

/** A channel that nobody attacks: it must get all events, each once. */
class Witness {
  static async start(site: LogsSite, url: string, findings: Findings): Promise<Witness> {
    const client = await SseClient.open(`${url}/stream?channel=witness`)
    await client.control('sse.open')
    return new Witness(site, client, findings)
  }

  readonly #site: LogsSite
  readonly #client: SseClient
  readonly #findings: Findings
  #published = 0

  private constructor(site: LogsSite, client: SseClient, findings: Findings) {
    this.#site = site
    this.#client = client
    this.#findings = findings
  }

  async check(): Promise<void> {
    await this.#site.multiplexer.publish('witness', { event: 'n', data: ++this.#published })
  }

  async stop(): Promise<void> {
    await this.#client.messagesUntil(this.#published)
    const seen = this.#client.messages.map(({ data }) => Number(data)).sort((a, b) => a - b)
    if (seen.length !== this.#published || seen.some((data, i) => data !== i + 1)) {
      this.#findings.violate(`the channel beside it got ${seen.length} events of ${this.#published}`)
    }
    if (this.#client.events.some(({ event }) => event === 'sse.reset'))
      this.#findings.violate('the channel beside it was reset')
    this.#client.close()
  }
}

/** The answer of the attacked channel must be right, or refused with a documented 503. */
async function read(url: string, channel: string, random: Random, findings: Findings): Promise<void> {
  if (random.chance(0.5)) {
    const response = await fetch(`${url}/poll?channel=${channel}&from=earliest&wait=${random.chance(0.98) ? 50 : 0}`)
    const text = await response.text()
    findings.count(response.status)
    const { code, cursor } = JSON.parse(text) as { code?: string; cursor?: string }
    if (response.status === 200 && !/^[a-z0-9]{1,16}-\d{1,16}$/.test(cursor ?? ''))
      findings.violate(`cursor ${text.slice(0, 200)}`)
    else if (response.status !== 200 && !(response.status === 503 && code?.startsWith('ERR_SSE_BROKER_'))) {
      findings.violate(`poll: ${response.status} ${text.slice(0, 300)}`)
    }
    return
  }
  const client = await SseClient.open(`${url}/stream?channel=${channel}&from=earliest`)
  findings.count(client.status)
  if (client.status === 200) await client.control('sse.open')
  else if (client.status !== 503) findings.violate(`stream: ${client.status} ${client.raw}`)
  client.close()
  if (client.status === 200) assertFrames(client, findings)
}

function assertFrames(client: SseClient, findings: Findings): void {
  const wrong = invalidFrame(client.raw)
  if (wrong !== undefined) findings.violate(`the stream has the block ${JSON.stringify(wrong.slice(0, 300))}`)
}

async function publish(site: LogsSite, channel: string, random: Random, findings: Findings): Promise<void> {
  const options = random.chance(0.3) ? { idempotencyKey: 'k' } : {}
  try {
    await site.multiplexer.publish(channel, { event: 'n', data: 'right' }, options)
    findings.count('published')
  } catch (error) {
    const code = error instanceof SseError ? error.code : String(error)
    findings.count(code)
    if (code !== 'ERR_SSE_BROKER_REFUSED') findings.violate(`publish: ${code}`)
  }
}

export const redisLogs: Area = {
  name: 'redis-logs',
  about: 'messages, entries, keys and signals of a foreign or broken program in Redis',
  async run(cases, random, findings) {
    const server = await RedisServer.start()
    const admin = new Redis(server.url)
    const site = new LogsSite(server.url)
    const url = await site.listen()
    const witness = await Witness.start(site, url, findings)
    const names = Object.keys(ATTACKS)
    try {
      await inParallel(cases, WIDTH, async (number) => {
        const channel = `victim:${number}`
        const steps: string[] = []
        await findings.case(
          () => `case ${number} (${steps.join(', ')})`,
          async () => {
            const live = await SseClient.open(`${url}/stream?channel=${channel}`)
            await live.control('sse.open')
            if (random.chance(0.7)) await site.multiplexer.publishMany(channel, [{ data: 1 }, { data: 2 }])
            for (let i = random.below(4) + 1; i > 0; i--) {
              const name = random.pick(names)
              steps.push(name)
              await ATTACKS[name]?.({ channel, admin, random }).catch(() => undefined)
              if (random.chance(0.5)) await publish(site, channel, random, findings)
              if (random.chance(0.5)) await read(url, channel, random, findings)
            }
            await witness.check()
            // The operator removes the keys, and the channel works again.
            await admin.del(
              `sse:{${channel}}:m`,
              `sse:{${channel}}:s`,
              ...(await admin.keys(`sse:{${channel}}:[ai]:*`)),
            )
            const last = `last ${number}`
            await eventually(async () => {
              await site.multiplexer.publish(channel, { event: 'n', data: last })
              return live.closed || live.messages.some(({ data }) => data === last)
            }, 20_000)
            if (live.closed) findings.violate(`case ${number}: the stream has ended`)
            live.close()
            assertFrames(live, findings)
          },
        )
      })
      await witness.stop()
      await eventually(
        () => site.multiplexer.status().streams + site.multiplexer.status().channels === 0,
        20_000,
      ).catch(() => findings.violate(`afterwards it holds ${JSON.stringify(site.multiplexer.status())}`))
    } finally {
      await site.stop()
      admin.disconnect()
      await server.stop()
    }
  },
}
