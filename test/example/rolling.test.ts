import { EventEmitter, once } from 'node:events'
import { expect } from 'chai'
import { createEventStream, type Listenable } from '../../lib/client/index.js'
import { createMultiplexer, type Multiplexer, messagesChannel } from '../../lib/index.js'
import { freePort } from '../helpers/free-port.js'
import { range } from '../helpers/range.js'
import { RedisServer } from '../helpers/redis-server.js'
import { TcpBalancer } from '../helpers/tcp-balancer.js'
import { sign, whatsAppPayload } from './harness.js'
import { InboxProcess } from './process.js'

// A machine that is busy with other work cannot open many more streams in time.
const STREAMS = 400
const USERS = 40
const CONVERSATIONS = 40
const EVENTS_PER_SECOND = 200
const DRAIN_MS = 3000
const SLICE_MS = 500
const WEBHOOK_SECRET = 'the secret of the webhooks'

/**
 * Two processes behind a balancer, restarted one after the other, while messages come in. `HISTOGRAM=1` prints the
 * reconnects.
 */
describe('a rolling restart of the example', function () {
  this.timeout(180_000)

  let redis: RedisServer
  let balancer: TcpBalancer
  let publisher: Multiplexer
  let ports: number[]
  const processes: InboxProcess[] = []
  const streams: Listenable[] = []
  /** The numbers that each stream received. */
  const seen = streamsOf(() => [] as number[])
  const published = Array.from({ length: CONVERSATIONS }, () => 0)
  /** When streams were reopened, and the losses that were announced. */
  const reopened: number[] = []
  const announced: string[] = []
  let publishing: NodeJS.Timeout
  /** Emits `change` for each state change and each event of a stream. */
  const streamChanges = new EventEmitter()

  before(async () => {
    redis = await RedisServer.start()
    ports = [await freePort(), await freePort()]
    balancer = await TcpBalancer.start(ports)
    publisher = createMultiplexer({ redis: redis.url })
    await Promise.all([start(0), start(1)])
  })

  after(async () => {
    clearInterval(publishing)
    for (const stream of streams) stream.close()
    for (const { child } of processes) child.kill('SIGKILL')
    await Promise.all(processes.map(({ ended }) => ended))
    await publisher.close()
    await balancer.stop()
    await redis.stop()
  })

  async function start(index: number): Promise<void> {
    const inbox = new InboxProcess({
      PORT: String(ports[index]),
      REDIS_URL: redis.url,
      JWT_SECRET: 'a secret of the tests, thirty-two bytes or more',
      WEBHOOK_SECRET,
      DRAIN_MS: String(DRAIN_MS),
    })
    processes[index] = inbox
    await inbox.printed('Inbox on')
  }

  async function post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<unknown> {
    const text = JSON.stringify(body)
    const signature = sign(text, WEBHOOK_SECRET)
    const response = await fetch(balancer.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-hub-signature-256': signature, ...headers },
      body: text,
    })
    expect(response.status).to.be.oneOf([200, 201])
    return response.json()
  }

  function open(index: number, token: string): void {
    let opened = 0
    const stream = createEventStream<{ n: number }>(
      `${balancer.url}/api/v1/sse/messages/${conversation(index % CONVERSATIONS)}`,
      {
        token: () => token,
        onState: ({ state }) => {
          if (state === 'open' && opened++ > 0) reopened.push(performance.now())
          streamChanges.emit('change')
        },
      },
    )
    stream.on('n', (event) => {
      seen[index]?.push(event.json())
      streamChanges.emit('change')
    })
    for (const type of ['sse.gap', 'sse.reset', 'sse.dropped']) stream.on(type, () => void announced.push(type))
    streams.push(stream)
  }

  function publishAll(): void {
    const everyMs = 1000 / EVENTS_PER_SECOND
    const begin = performance.now()
    let count = 0
    publishing = setInterval(() => {
      for (const due = (performance.now() - begin) / everyMs; count < due; count++) {
        const to = count % CONVERSATIONS
        const n = (published[to] as number) + 1
        published[to] = n
        publisher.offer(messagesChannel('acme', conversation(to)), { event: 'n', data: n })
      }
    }, 10)
  }

  /** Waits without a deadline: clients pause up to 30 s between attempts. The time-out of the test is the limit. */
  async function until(condition: () => boolean): Promise<void> {
    while (!condition()) await once(streamChanges, 'change')
  }

  const allOpen = (): boolean => streams.every(({ state }) => state === 'open')

  it(`loses and repeats no event on ${STREAMS} streams, and spreads their reconnects over time`, async () => {
    // Sequentially: with all requests at once Redis would not answer in time on a busy machine.
    for (const n of range(0, CONVERSATIONS - 1)) {
      await post('/webhooks/whatsapp', whatsAppPayload({ id: `wamid.${n}`, text: 'Hello', from: contact(n) }))
    }
    const tokens: string[] = []
    for (const n of range(1, USERS)) {
      const answer = await post('/api/v1/auth/login', { user: `agent${n}`, tenant: 'acme' })
      tokens.push((answer as { token: string }).token)
    }
    for (const index of range(0, STREAMS - 1)) open(index, tokens[index % USERS] as string)
    await until(allOpen)

    publishAll()
    const histograms: number[][] = []
    for (const index of [0, 1]) {
      const begin = performance.now()
      const before = reopened.length
      processes[index]?.child.kill('SIGTERM')
      expect(await processes[index]?.ended).to.deep.equal([0, null])
      await start(index)
      await until(allOpen)
      histograms.push(sliced(reopened.slice(before).map((at) => at - begin)))
    }
    clearInterval(publishing)
    const total = (index: number): number => published[index % CONVERSATIONS] as number
    await until(() => seen.every((numbers, index) => numbers.at(-1) === total(index)))

    for (const [index, numbers] of seen.entries()) expect(numbers).to.deep.equal(range(1, total(index)))
    expect(announced).to.deep.equal([])
    if (process.env.HISTOGRAM === '1') console.log(`reconnects every ${SLICE_MS} ms:`, histograms)
    const [first, second] = histograms.map((slices) => slices.reduce((sum, count) => sum + count, 0))
    // Half of the streams were on the first process, and then most are on the second.
    expect(first).to.be.above(STREAMS / 3)
    expect(second).to.be.above(STREAMS / 2)
    for (const slices of histograms) expect(Math.max(...slices)).to.be.below(STREAMS / 3)
  })
})

function streamsOf<T>(make: () => T): T[] {
  return Array.from({ length: STREAMS }, make)
}

function contact(n: number): string {
  return String(16_315_550_000 + n)
}

function conversation(n: number): string {
  return `wa-106540352242922-${contact(n)}`
}

function sliced(times: readonly number[]): number[] {
  const slices: number[] = []
  for (const at of times) {
    const slice = Math.floor(at / SLICE_MS)
    slices[slice] = (slices[slice] ?? 0) + 1
  }
  return Array.from(slices, (count) => count ?? 0)
}
