import { expect } from 'chai'
import fc from 'fast-check'
import { Redis } from 'ioredis'
import { type LimiterScripts, withLimiterScripts } from '../../../lib/limits/requests/scripts.js'
import { RedisServer } from '../../helpers/redis-server.js'

const POINTS = 20
/** Long: no window ends while a test runs, and the refill is negligible. */
const DURATION_MS = 2_000_000_000

type Args = (string | number)[]

/** A minimal implementation of a process's side of the protocol. */
class Process {
  leased = 0
  consumed = 0
  window = -1
  #number = 0
  readonly #holder: string

  constructor(holder: string) {
    this.#holder = `process ${holder}`
  }

  get open(): number {
    return this.leased - this.consumed
  }

  windowMessage(): Args {
    return [DURATION_MS, POINTS, this.#holder, ++this.#number, this.window, this.leased, this.consumed, 4, 8, 0]
  }

  bucketMessage(): Args {
    const refill = POINTS / (DURATION_MS / 1000)
    return [POINTS, refill, this.#holder, ++this.#number, this.leased, this.consumed, 4, 8, 600_000, POINTS, 0]
  }
}

const STEPS = fc.array(
  fc.record({
    by: fc.nat(2),
    does: fc.constantFrom('use', 'use', 'request', 'return', 'repeat', 'reorder', 'lose', 'die'),
  }),
  { minLength: 30, maxLength: 100, size: 'max' },
)

describe("the limiter's scripts", () => {
  let server: RedisServer
  let redis: Redis & LimiterScripts
  let keys = 0

  before(async () => {
    server = await RedisServer.start()
    redis = withLimiterScripts(new Redis(server.url))
  })

  after(async () => {
    redis.disconnect()
    await server.stop()
  })

  for (const script of ['sseLimitWindow', 'sseLimitBucket'] as const) {
    const messageOf = (process: Process): Args =>
      script === 'sseLimitWindow' ? process.windowMessage() : process.bucketMessage()

    const receive = (process: Process, answer: readonly number[]): void => {
      const [first = 0, second = 0] = answer
      if (script === 'sseLimitWindow') process.window = first
      process.leased = script === 'sseLimitWindow' ? second : first
    }

    it(`${script} never leases too much if messages are repeated, lost or reordered, or processes die`, async () => {
      await fc.assert(
        fc.asyncProperty(STEPS, async (steps) => {
          const key = `key ${keys++}`
          const processes = [new Process('a'), new Process('b'), new Process('c')]
          const sent: Args[] = []
          let used = 0
          const send = async (process: Process): Promise<readonly number[]> => {
            const message = messageOf(process)
            sent.push(message)
            return redis[script](key, ...message)
          }
          const acts: Record<string, (process: Process, by: number) => Promise<void>> = {
            use: async (process) => {
              if (process.open <= 0) return
              process.consumed++
              used++
            },
            request: async (process) => receive(process, await send(process)),
            return: async (process) => {
              process.leased = process.consumed
              receive(process, await send(process))
            },
            lose: async (process) => void (await send(process)),
            repeat: async () => {
              const last = sent.at(-1)
              if (last) await redis[script](key, ...last)
            },
            reorder: async () => {
              const old = sent[Math.floor(sent.length / 2)]
              if (old) await redis[script](key, ...old)
            },
            die: async (_process, by) => {
              processes[by] = new Process(`${by} ${sent.length}`)
            },
          }
          for (const { by, does } of steps) {
            await acts[does]?.(processes[by] as Process, by)
            const open = processes.reduce((sum, process) => sum + process.open, 0)
            expect(used + open).to.be.at.most(POINTS)
          }
        }),
        { numRuns: 100 },
      )
    })
  }

  it('count points that were used without a lease', async () => {
    for (const script of ['sseLimitWindow', 'sseLimitBucket'] as const) {
      const key = `key ${keys++}`
      const [one, other] = [new Process('a'), new Process('b')]
      const messageOf = (process: Process): Args =>
        script === 'sseLimitWindow' ? process.windowMessage() : process.bucketMessage()
      one.window = Math.floor(Date.now() / DURATION_MS)
      one.consumed = POINTS - 1
      await redis[script](key, ...messageOf(one))
      const answer = await redis[script](key, ...messageOf(other))
      // At most one point is left, and the first process may have leased it.
      expect(answer[script === 'sseLimitWindow' ? 1 : 0], script).to.equal(0)
    }
  })

  it('grant nothing to a process that is one window ahead, and keep the count of the current window', async () => {
    const key = `key ${keys++}`
    const process = new Process('a')
    process.window = Math.floor(Date.now() / DURATION_MS)
    process.consumed = 7
    await redis.sseLimitWindow(key, ...process.windowMessage())
    process.window++
    process.consumed = 0
    const [, , granted, , consumedByAll] = await redis.sseLimitWindow(key, ...process.windowMessage())
    expect([granted, consumedByAll]).to.deep.equal([0, 7])
  })

  it('restore a lost bucket with the tokens that the process last saw', async () => {
    const lost = new Process('a').bucketMessage()
    lost[9] = 0
    expect((await redis.sseLimitBucket(`key ${keys++}`, ...lost))[1]).to.equal(0)
  })

  it('do not refill a token bucket by its leased tokens', async () => {
    const key = `key ${keys++}`
    const message = new Process('a').bucketMessage()
    message[1] = 1000
    message[6] = POINTS
    expect((await redis.sseLimitBucket(key, ...message))[1]).to.equal(POINTS)
    await new Promise((resolve) => setTimeout(resolve, 50))
    // All leased points are used now. The same number again would be twice the burst at once.
    message[3] = 2
    message[4] = message[5] = POINTS
    expect((await redis.sseLimitBucket(key, ...message))[1]).to.equal(0)
  })

  it('count an expired lease of a token bucket as consumed', async () => {
    const key = `key ${keys++}`
    const [holder, other] = [new Process('a').bucketMessage(), new Process('b').bucketMessage()]
    holder[7] = holder[6] = POINTS
    holder[8] = 1
    expect((await redis.sseLimitBucket(key, ...holder))[0]).to.equal(POINTS)
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect((await redis.sseLimitBucket(key, ...other))[0]).to.equal(0)
    holder[3] = 2
    holder[4] = POINTS
    expect((await redis.sseLimitBucket(key, ...holder))[0], 'and is not returned').to.equal(0)
  })
})
