import { expect } from 'chai'
import { Redis } from 'ioredis'
import type { Message } from '../../example/server/store/inbox-store.js'
import { eventually } from '../helpers/eventually.js'
import { RedisServer } from '../helpers/redis-server.js'
import type { SseClient } from '../helpers/sse-client.js'
import { TestInbox, whatsAppPayload } from './harness.js'

const CONVERSATION = 'wa-106540352242922-16315551234'
const STREAMS = 50

describe('two processes of the example on one real Redis', () => {
  let server: RedisServer
  let redis: Redis
  let one: TestInbox
  let two: TestInbox
  let dana: string
  let gus: string

  before(async () => {
    server = await RedisServer.start()
    redis = new Redis(server.url)
  })

  after(async () => {
    redis.disconnect()
    await server.stop()
  })

  beforeEach(async () => {
    await redis.flushall()
    ;[one, two] = await Promise.all([
      TestInbox.start({ redisUrl: server.url }),
      TestInbox.start({ redisUrl: server.url }),
    ])
    // A token of one process is valid on the other: they share the secret.
    dana = await one.signIn('dana', 'acme')
    gus = await one.signIn('gus', 'globex')
  })

  afterEach(async () => {
    await Promise.all([one.stop(), two.stop()])
  })

  function idsOf({ messages }: SseClient): string[] {
    return messages.map(({ event, data }) => {
      const parsed = JSON.parse(data) as Message & { message: Message }
      return event === 'message' ? parsed.id : parsed.message.id
    })
  }

  async function items(inbox: TestInbox, path: string): Promise<readonly { id: string }[]> {
    return ((await inbox.call('GET', path, { token: dana })).body as { items: { id: string }[] }).items
  }

  it('deliver a payload posted to one to the streams of the other, and to no other tenant', async () => {
    await one.deliver('whatsapp', whatsAppPayload({ id: 'wamid.0', text: 'First' }))
    const [list, thread, globex] = await Promise.all([
      two.stream('/conversations', dana),
      two.stream(`/messages/${CONVERSATION}`, dana),
      two.stream('/conversations', gus),
    ])
    const before = performance.now()
    expect((await one.deliver('whatsapp', whatsAppPayload({ id: 'wamid.1', text: 'Hello' }))).status).to.equal(200)
    await Promise.all([list.messagesUntil(1), thread.messagesUntil(1)])
    expect(performance.now() - before).to.be.lessThan(500)
    expect(idsOf(list)).to.deep.equal(['wamid.1'])
    expect(idsOf(thread)).to.deep.equal(['wamid.1'])
    // This event arrives after any event that was sent to the other tenant by mistake.
    await two.call('POST', '/api/v1/conversations/demo-omar/messages', { token: gus, body: { text: 'own' } })
    await globex.messagesUntil(1)
    expect(
      globex.messages.map(({ data }) => (JSON.parse(data) as { conversation_id: string }).conversation_id),
    ).to.deep.equal(['demo-omar'])
  })

  it('share conversations, messages and the demo, which exists once', async () => {
    await one.deliver('whatsapp', whatsAppPayload({ id: 'wamid.1', text: 'Hello' }))
    await two.call('POST', `/api/v1/conversations/${CONVERSATION}/messages`, { token: dana, body: { text: 'Hi' } })
    for (const inbox of [one, two]) {
      expect((await items(inbox, '/api/v1/conversations')).map(({ id }) => id)).to.deep.equal([
        CONVERSATION,
        'demo-lena',
        'demo-tomas',
        'demo-priya',
      ])
      expect(await items(inbox, `/api/v1/conversations/${CONVERSATION}/messages`)).to.have.length(2)
      expect(await items(inbox, '/api/v1/conversations/demo-lena/messages')).to.have.length(6)
    }
  })

  it('handle a message once, also if it is delivered to both several times at once', async () => {
    await one.deliver('whatsapp', whatsAppPayload({ id: 'wamid.0', text: 'First' }))
    const [list, thread] = [
      await two.stream('/conversations', dana),
      await two.stream(`/messages/${CONVERSATION}`, dana),
    ]
    const payload = whatsAppPayload({ id: 'wamid.1', text: 'Hello' })
    const answers = await Promise.all([one, two, one, two].map((inbox) => inbox.deliver('whatsapp', payload)))
    // 503: the message is being handled by the other process; Meta retries the delivery.
    for (const { status } of answers) expect(status).to.be.oneOf([200, 503])
    for (const inbox of [one, two]) expect((await inbox.deliver('whatsapp', payload)).status).to.equal(200)
    await one.deliver('whatsapp', whatsAppPayload({ id: 'wamid.2', text: 'Next' }))
    await Promise.all([list.messagesUntil(2), thread.messagesUntil(2)])
    expect(idsOf(list)).to.deep.equal(['wamid.1', 'wamid.2'])
    expect(idsOf(thread)).to.deep.equal(['wamid.1', 'wamid.2'])
  })

  it(`hold one subscription and one subscriber connection each, for ${STREAMS} streams of a tenant`, async () => {
    const open = Array.from({ length: STREAMS }, async (_, n) =>
      one.stream('/conversations', await one.signIn(`agent${n % 5}`, 'acme')),
    )
    const streams = await Promise.all(open)
    const channels = (await redis.pubsub('CHANNELS', '*conversations:acme*')) as string[]
    expect(channels).to.have.length(1)
    const [channel = ''] = channels
    expect(await redis.pubsub('NUMSUB', channel)).to.deep.equal([channel, 1])
    expect(await subscribers()).to.equal(2)
    streams.push(await two.stream('/conversations', dana))
    expect(await redis.pubsub('NUMSUB', channel)).to.deep.equal([channel, 2])
    expect(await subscribers()).to.equal(2)
    expect(one.services.multiplexer.status()).to.deep.include({ streams: STREAMS, channels: 1 })
    await two.deliver('whatsapp', whatsAppPayload({ id: 'wamid.1', text: 'Hello' }))
    await Promise.all(streams.map((stream) => stream.messagesUntil(1)))
    for (const stream of streams) stream.close()
    await eventually(() => one.services.multiplexer.status().streams === 0)
  })

  it('miss no event between a list of one and a stream of the other', async () => {
    await one.deliver('whatsapp', whatsAppPayload({ id: 'wamid.0', text: 'First' }))
    const path = `/api/v1/conversations/${CONVERSATION}/messages`
    const { body } = await one.call('GET', path, { token: dana })
    const { cursor } = body as { cursor: string }
    await two.deliver('whatsapp', whatsAppPayload({ id: 'wamid.1', text: 'In between' }))
    const thread = await two.stream(`/messages/${CONVERSATION}`, dana, cursor)
    await one.deliver('whatsapp', whatsAppPayload({ id: 'wamid.2', text: 'After' }))
    await thread.messagesUntil(2)
    expect(idsOf(thread)).to.deep.equal(['wamid.1', 'wamid.2'])
    expect(thread.events.map(({ event }) => event)).to.deep.equal(['sse.open', 'message', 'message'])
  })

  it('report that they are not ready while Redis is unavailable, answer 503 in bounded time, and recover', async () => {
    const own = await RedisServer.start()
    const inbox = await TestInbox.start({ redisUrl: own.url })
    const token = await inbox.signIn('dana', 'acme')
    expect((await inbox.call('GET', '/readyz')).status).to.equal(200)
    await own.down()
    const before = performance.now()
    const answers = await Promise.all([
      inbox.call('GET', '/readyz'),
      inbox.call('GET', '/api/v1/conversations', { token }),
      inbox.call('POST', '/api/v1/conversations/demo-lena/messages', { token, body: { text: 'hello' } }),
      inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.1', text: 'Hello' })),
    ])
    expect(answers.map(({ status }) => status)).to.deep.equal([503, 503, 503, 503])
    expect(performance.now() - before).to.be.lessThan(8000)
    expect(answers.map(({ text }) => text).join()).to.not.contain('127.0.0.1')
    expect((await inbox.call('GET', '/healthz')).status).to.equal(200)
    await own.up()
    await eventually(async () => (await inbox.call('GET', '/readyz')).status === 200)
    expect((await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.1', text: 'Hello' }))).status).to.equal(200)
    await inbox.stop()
    await own.stop()
  })

  async function subscribers(): Promise<number> {
    const list = (await redis.client('LIST', 'TYPE', 'PUBSUB')) as string
    return list.trim().split('\n').filter(Boolean).length
  }
})
