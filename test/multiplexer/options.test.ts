import { expect } from 'chai'
import { InvalidOptionError } from '../../lib/core/errors.js'
import { createMultiplexer, type MultiplexerOptions, sseMiddleware } from '../../lib/index.js'
import { resolveStreamLimits } from '../../lib/limits/streams/options.js'
import { resolvePollOptions } from '../../lib/multiplexer/poll-opener.js'

/** Option: the least value and the largest one, as documented. */
type Bounds = Readonly<Record<string, readonly [least: number, most?: number]>>

const MULTIPLEXER: Bounds = {
  maxEventBytes: [16],
  tailBytes: [0],
  tailEntries: [0],
  lingerMs: [0],
  maxWindow: [0],
  historySize: [0, 10_000_000],
  historyTtlMs: [1],
  maxLogs: [1],
  maxLogBytes: [1],
  metaTtlMs: [3_600_000],
  idempotencyTtlMs: [1],
}

const REDIS: Bounds = { commandTimeoutMs: [1, 600_000], probeMs: [100, 600_000] }

const POLL: Bounds = { maxEvents: [1], maxBytes: [1], maxWaitMs: [0], pollMs: [0] }

const STREAM: Bounds = {
  heartbeatMs: [0],
  retryMs: [0],
  maxAgeMs: [0],
  expiresAt: [0],
  stallMs: [0],
  closeGraceMs: [0],
  queueEvents: [0],
  queueBytes: [0],
  queueTtlMs: [1],
  saturatedMs: [0],
  maxEventBytes: [16],
}

const LIMITS: Bounds = {
  perUser: [0],
  perTenant: [0],
  perIp: [0],
  perProcess: [0],
  opensPerMinute: [0, 60_000],
  leaseMs: [1000, 3_600_000],
  timeoutMs: [1, 60_000],
}

async function multiplexerWith(options: object): Promise<void> {
  await createMultiplexer(options as MultiplexerOptions).close()
}

describe('an option with a number', () => {
  const cases: [string, Bounds, (options: object) => unknown][] = [
    ['createMultiplexer', MULTIPLEXER, multiplexerWith],
    ['createMultiplexer with redis', REDIS, (options) => multiplexerWith({ redis: 'redis://127.0.0.1:1', ...options })],
    ['poll', POLL, (options) => resolvePollOptions(options)],
    ['stream', STREAM, (options) => sseMiddleware(options)],
    ['limitStreams', LIMITS, (options) => resolveStreamLimits(options)],
  ]
  for (const [where, bounds, use] of cases) {
    for (const [name, [least, most]] of Object.entries(bounds)) {
      it(`is accepted within its bounds and refused by its name beyond them: ${name} of ${where}`, async () => {
        for (const value of most === undefined ? [least] : [least, most]) await use({ [name]: value })
        for (const value of [least - 1, (most ?? Number.MAX_SAFE_INTEGER) + 1, least + 0.5, String(least)]) {
          const error = await failureOf(() => use({ [name]: value }))
          expect(error, String(value)).to.be.instanceOf(InvalidOptionError)
          expect(error)
            .to.have.property('message')
            .that.matches(new RegExp(`^${name} must be a whole number from`))
        }
      })
    }
  }

  async function failureOf(call: () => unknown): Promise<unknown> {
    try {
      await call()
    } catch (error) {
      return error
    }
    return undefined
  }
})

describe('the window of close', () => {
  it('is refused by its name if it is not a number of ms', async () => {
    const multiplexer = createMultiplexer()
    expect(() => multiplexer.close({ windowMs: -1 })).to.throw(InvalidOptionError, /^windowMs must be/)
    await multiplexer.close()
  })
})

describe('an idempotency key', () => {
  it('has 1 to 256 characters', async () => {
    const multiplexer = createMultiplexer()
    await multiplexer.publish('orders', { data: 1 }, { idempotencyKey: 'k'.repeat(256) })
    for (const idempotencyKey of ['k'.repeat(257), '', '\ud800', 7 as never]) {
      for (const publish of [
        () => multiplexer.publish('orders', { data: 1 }, { idempotencyKey }),
        () => multiplexer.publishMany('orders', [{ data: 1 }], { idempotencyKey }),
      ]) {
        expect(await publish().catch(identity)).to.have.property('code', 'ERR_SSE_EVENT_INVALID')
      }
    }
    await multiplexer.close()
  })
})

function identity(error: unknown): unknown {
  return error
}
