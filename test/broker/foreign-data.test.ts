import { expect } from 'chai'
import { RedisBroker } from '../../lib/broker/redis/broker.js'
import { diagnostics } from '../../lib/core/diagnostics.js'
import { systemClock } from '../../lib/core/system-clock.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { type SuiteRedis, startSuiteRedis } from '../helpers/suite-redis.js'
import { codeOf, Recorder } from '../suites/broker.js'

const event = (data: unknown) => encodePublished({ data })
const EPOCH = /^[a-z0-9]{6}$/

describe('a log in Redis into which another program has written', () => {
  let redis: SuiteRedis
  let broker: RedisBroker
  let number = 0
  let channel: string
  let codes: string[]

  startSuiteRedis((started) => {
    redis = started
  })

  const onError = (message: unknown): void => void codes.push((message as { error: { code: string } }).error.code)
  const key = (kind: 'm' | 's'): string => `sse:{${channel}}:${kind}`

  beforeEach(() => {
    channel = `foreign:${++number}`
    codes = []
    diagnostics.brokerError.subscribe(onError)
    broker = new RedisBroker({ redis: redis.server.url, commandTimeoutMs: 20_000 }, systemClock)
  })
  afterEach(async () => {
    diagnostics.brokerError.unsubscribe(onError)
    await broker.close()
  })

  for (const [what, payload] of [
    ['that repeats offsets', '9 n 0 ;9 n 0 ;9 n 0 \ndata: x\n\ndata: y\n\ndata: z\n\n'],
    ['that is not an event', '8 n 0 \ndata: x\n'],
    ['with an id of its own', '15 n 0 \nid: 1\ndata: x\n\n'],
    ['with a control event', '27 n 0 \nevent: sse.close\ndata: {}\n\n'],
    ['of another format', 'x'],
  ] as const) {
    it(`is read without an entry ${what}, in ascending order, and reports the entry`, async () => {
      for (let i = 1; i <= 3; i++) await broker.publish(channel, event(i))
      await redis.admin.multi().xadd(key('s'), '4-0', 'p', payload).hset(key('m'), 'o', 4).exec()
      const { entries, end } = await broker.read(channel, 0, 100)
      expect(entries.map(({ offset }) => offset)).to.deep.equal([1, 2, 3])
      expect(end).to.equal(4)
      expect(codes).to.deep.equal(['ERR_SSE_MESSAGE_FOREIGN'])
    })
  }

  it('is read without entries beyond its end', async () => {
    await broker.publish(channel, event(1))
    for (const id of ['2-0', '9007199254740993-0', '18446744073709551615-0']) {
      await redis.admin.xadd(key('s'), id, 'p', '9 n 0 \ndata: x\n\n')
    }
    const { entries, end } = await broker.read(channel, 0, 100)
    expect(entries.map(({ offset }) => offset)).to.deep.equal([1])
    expect(end).to.equal(1)
  })

  it('refuses one publication after an entry with a higher id, and then continues as a new log', async () => {
    const { epoch } = await broker.publish(channel, event(1))
    await redis.admin.xadd(key('s'), '9-0', 'p', 'x')
    expect(await codeOf(broker.publish(channel, event(2)))).to.equal('ERR_SSE_BROKER_REFUSED')
    const position = await broker.publish(channel, event(3))
    expect(position).to.include({ offset: 1 })
    expect(position.epoch).to.match(EPOCH).and.not.equal(epoch)
    expect((await broker.read(channel, 0, 10)).entries).to.have.length(1)
  })

  for (const [field, value] of [
    ['e', 'x\r\ndata: x\r\n\r\n'],
    ['e', 'ABC'],
    ['e', ''],
    ['o', 'x'],
    ['o', '-3'],
    ['o', '1.5'],
    ['o', '1e300'],
    ['o', '9'.repeat(30)],
    ['o', '9'.repeat(15)],
  ] as const) {
    it(`is replaced if its meta hash has ${field} = ${JSON.stringify(value)}`, async () => {
      const { epoch } = await broker.publish(channel, event(1))
      await redis.admin.hset(key('m'), field, value)
      const [head] = await broker.heads([channel])
      expect(head).to.include({ offset: 0 })
      expect(head?.epoch).to.match(EPOCH).and.not.equal(epoch)
      expect(await broker.publish(channel, event(2))).to.deep.equal({ epoch: head?.epoch, offset: 1 })
    })

    it(`is replaced by a process that has not seen it if its meta hash has ${field} = ${JSON.stringify(value)}`, async () => {
      const other = new RedisBroker({ redis: redis.server.url }, systemClock)
      await other.publish(channel, event(1))
      await redis.admin.hset(key('m'), field, value)
      const listener = new Recorder()
      const position = await broker.publish(channel, event(2))
      expect(position).to.include({ offset: 1 })
      expect(position.epoch).to.match(EPOCH)
      await broker.subscribe(channel, listener)
      await broker.publish(channel, event(3))
      await listener.until(1)
      expect((await broker.read(channel, 0, 10)).entries.map(({ offset }) => offset)).to.deep.equal([1, 2])
      await other.close()
    })
  }

  it('is not created where a key of another type is', async () => {
    for (const write of [() => redis.admin.set(key('s'), 'text'), () => redis.admin.hset(key('s'), 'field', 'value')]) {
      await write()
      const type = await redis.admin.type(key('s'))
      expect(await codeOf(broker.publish(channel, event(1)))).to.equal('ERR_SSE_BROKER_REFUSED')
      expect(await redis.admin.type(key('s'))).to.equal(type)
      await redis.admin.del(key('s'))
      expect(await broker.publish(channel, event(1))).to.include({ offset: 1 })
      await redis.admin.del(key('s'), key('m'))
    }
  })

  it('keeps its epoch if only the list of its earlier lives is damaged', async () => {
    const { epoch } = await broker.publish(channel, event(1))
    for (const earlier of ['x y\n', 'abcdef-x', '...', 'a-1.'.repeat(9000)]) {
      await redis.admin.hset(key('m'), 'p', earlier)
      expect(await broker.heads([channel])).to.have.nested.property('[0].epoch', epoch)
    }
  })

  it('takes publications although what it knows of earlier ones is damaged', async () => {
    await broker.publish(channel, event(1), { idempotencyKey: 'k' })
    const fields = (await redis.admin.hkeys(key('m'))).filter((field) => field.startsWith('a:'))
    expect(fields).to.have.length(1)
    const [field = ''] = fields
    let offset = 1
    for (const value of ['', 'x', '5 abcdef-x', `${'9'.repeat(400)} a-1`, `abcdef-${'9'.repeat(30)}`]) {
      await redis.admin.hset(key('m'), field, `${value} 1`, 't', value)
      await redis.admin.set(`sse:{${channel}}:i:k`, value)
      expect(await broker.publish(channel, event(2), { idempotencyKey: 'k' })).to.include({ offset: ++offset })
    }
  })

  it('delivers no message whose epoch, offsets or events cannot be those of the kit', async () => {
    const listener = new Recorder()
    await broker.subscribe(channel, listener)
    const junk = [
      'abc\rdata: x\r\r 1\n9 n 0 \ndata: 1\n\n',
      'ABC 1\n9 n 0 \ndata: 1\n\n',
      '- 1\n9 n 0 \ndata: 1\n\n',
      'abcdef 9007199254740991\n9 n 0 \ndata: 1\n\n',
      'abcdef 1e3\n9 n 0 \ndata: 1\n\n',
      'abcdef 1\n7 n 0 \ndata: 1',
      'abcdef 1\n18 n 0 \ndata: 1\n\ndata: 2\n\n',
      'abcdef 1\n15 n 0 \nid: x\ndata: 1\n\n',
      'abcdef 1\n20 n 0 \nevent: sse.x\ndata: 1\n\n',
      'abcdef 1\n~9 n 0 ;7 n 0 \ndata: 1\n\ndata: 1',
    ]
    for (const message of junk) await redis.admin.publish(`sse:{${channel}}`, message)
    await broker.publish(channel, event(1))
    await listener.until(1)
    expect(listener.entries.map(({ body }) => body.toString())).to.deep.equal(['data: 1\n\n'])
    expect(codes).to.deep.equal(junk.map(() => 'ERR_SSE_MESSAGE_FOREIGN'))
  })
})
