import { expect } from 'chai'
import { BrokerError, type diagnostics, diagnosticsChannels, type ErrorLine, logErrors } from '../../lib/index.js'
import { FakeClock } from '../helpers/fake-clock.js'

describe('the error log', () => {
  let clock: FakeClock
  let lines: ErrorLine[]
  let stop: () => void

  beforeEach(() => {
    clock = new FakeClock()
    lines = []
    stop = logErrors({ clock, intervalMs: 1000, write: (line) => lines.push(line) })
  })

  afterEach(() => stop())

  function fail(channel: keyof typeof diagnostics, message: object): void {
    diagnosticsChannels[channel].publish(message)
  }

  it('logs the source, the operation and the error, with its code and root cause', () => {
    const socket = Object.assign(new Error('connect ECONNREFUSED 10.0.0.7:6379'), { code: 'ECONNREFUSED' })
    const cause = new Error('no connection', { cause: socket })
    fail('brokerError', { operation: 'subscribe', error: new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', 'Away', cause) })
    expect(lines).to.deep.equal([
      {
        event: 'sse.error',
        source: 'broker:error',
        operation: 'subscribe',
        channel: undefined,
        connection_id: undefined,
        name: 'BrokerError',
        message: 'Away',
        code: 'ERR_SSE_BROKER_UNAVAILABLE',
        cause: 'connect ECONNREFUSED 10.0.0.7:6379',
        stack: undefined,
        timestamp: new Date(clock.wallTime()).toISOString(),
        suppressed: 0,
      },
    ])
  })

  it('subscribes to every diagnostics channel of background errors', () => {
    const error = new Error('broken')
    const channels = [
      'brokerError',
      'publishError',
      'storeError',
      'limiterError',
      'streamError',
      'callbackError',
    ] as const
    for (const channel of channels) fail(channel, { error })
    fail('webhookError', { error, operation: 'onMessage' })
    fail('webhookUnknown', { provider: 'whatsapp', reason: 'unsupported', what: 'account_update', raw: {} })
    fail('webhookUnknown', { provider: 'whatsapp', reason: 'left_out', what: 'echo', raw: {} })
    expect(lines.map(({ source, message }) => `${source} ${message}`)).to.deep.equal([
      'broker:error broken',
      'publish:error broken',
      'store:error broken',
      'limiter:error broken',
      'stream:error broken',
      'callback:error broken',
      'webhook:error broken',
      'webhook:unknown whatsapp: unsupported account_update',
    ])
    expect(lines[0]?.stack).to.contain('error-log.test')
  })

  it('writes one line per cause and interval, ignores numbers in messages, and counts the others', () => {
    const away = (ms: number): void =>
      fail('storeError', { operation: 'get', error: new Error(`No answer within ${ms} ms from 10.0.0.${ms % 9}`) })
    for (let i = 0; i < 100; i++) away(i)
    fail('storeError', { operation: 'get', error: new Error('NOAUTH') })
    fail('storeError', { operation: 'set', error: new Error('NOAUTH') })
    expect(lines.map(({ message }) => message)).to.deep.equal([
      'No answer within 0 ms from 10.0.0.0',
      'NOAUTH',
      'NOAUTH',
    ])
    clock.advance(1000)
    away(7)
    expect(lines.at(-1)?.suppressed).to.equal(99)
    clock.advance(1000)
    away(7)
    expect(lines.at(-1)?.suppressed).to.equal(0)
  })

  it('bounds the number of causes', () => {
    const letters = 'ghijklmnopqrstuvwxyz'
    const word = (i: number): string => [...String(i)].map((digit) => letters[Number(digit)]).join('')
    for (let i = 0; i < 5000; i++) fail('storeError', { operation: 'get', error: new Error(`cause ${word(i)}`) })
    expect(lines).to.have.length(201)
    clock.advance(1000)
    fail('storeError', { operation: 'get', error: new Error('another') })
    expect(lines).to.have.length(202)
    const long = 'long '.repeat(100_000)
    fail('storeError', { operation: 'get', error: new Error(long, { cause: long }) })
    expect(JSON.stringify(lines.at(-1)).length).to.be.below(10_000)
  })

  it('logs any thrown value', () => {
    const hostile = new Proxy(new Error('x'), {
      get() {
        throw new Error('trap')
      },
    })
    const cyclic = new Error('cyclic')
    cyclic.cause = cyclic
    for (const error of [undefined, null, 'text', Object.create(null), Symbol('s'), hostile, cyclic, 7n]) {
      fail('streamError', { stream: 's1', error })
    }
    // Two of the values cannot be read. They count as one cause.
    expect(lines).to.have.length(7)
    expect(lines[0]).to.include({ connection_id: 's1', name: 'undefined', message: 'undefined' })
  })

  it('writes one line of JSON to stderr by default', () => {
    stop()
    const written: string[] = []
    const write = process.stderr.write
    process.stderr.write = ((text: string) => written.push(text)) as never
    try {
      stop = logErrors({ clock })
      fail('storeError', { operation: 'get', error: new Error('broken') })
    } finally {
      process.stderr.write = write
    }
    expect(written).to.have.length(1)
    expect(JSON.parse(written[0] ?? '')).to.include({ event: 'sse.error', source: 'store:error', message: 'broken' })
  })

  for (const [how, write] of Object.entries({
    throws: () => {
      throw new Error('disk full')
    },
    rejects: () => Promise.reject(new Error('disk full')) as never,
  })) {
    it(`warns once and continues if write ${how}`, async () => {
      stop()
      const warnings: string[] = []
      const onWarning = (warning: Error & { code?: string }): void => {
        if (warning.code === 'SSE_ERROR_LOG') warnings.push(warning.message)
      }
      process.on('warning', onWarning)
      stop = logErrors({ clock, write })
      fail('storeError', { operation: 'get', error: new Error('one') })
      fail('storeError', { operation: 'get', error: new Error('other') })
      await new Promise((resolve) => setImmediate(resolve))
      await new Promise((resolve) => setImmediate(resolve))
      process.off('warning', onWarning)
      expect(warnings).to.deep.equal(['The error log cannot be written: Error: disk full'])
    })
  }

  it('can be stopped, and rejects an invalid interval', () => {
    stop()
    fail('storeError', { operation: 'get', error: new Error('broken') })
    expect(lines).to.deep.equal([])
    for (const intervalMs of [0, -1, Number.NaN]) {
      expect(() => logErrors({ intervalMs }))
        .to.throw()
        .with.property('code', 'ERR_SSE_OPTION_INVALID')
    }
  })
})
