import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { readFile } from 'node:fs/promises'
import { expect } from 'chai'
import { diagnostics } from '../../lib/index.js'
import { TestInbox, whatsAppPayload } from '../example/harness.js'
import { Nginx } from '../helpers/nginx.js'
import { range } from '../helpers/range.js'
import { RedisServer } from '../helpers/redis-server.js'
import { SseClient } from '../helpers/sse-client.js'

describe("the example's nginx.conf before two processes", () => {
  let redis: RedisServer
  let inboxes: readonly [TestInbox, TestInbox]
  let nginx: Nginx
  let authorization: string
  const streams: SseClient[] = []

  beforeEach(async () => {
    redis = await RedisServer.start()
    const start = (): Promise<TestInbox> =>
      TestInbox.start({ redisUrl: redis.url, environment: { PROXIES: '1', INTERNAL_PORT: '0' } })
    inboxes = [await start(), await start()]
    const file = await readFile(new URL('../../example/deploy/nginx.conf', import.meta.url), 'utf8')
    const [one, two] = inboxes.map(({ port }) => `127.0.0.1:${port}`)
    nginx = await Nginx.deployed(file, { 'app-1:3000': one ?? '', 'app-2:3000': two ?? '' })
    authorization = `Bearer ${await inboxes[0].signIn('dana', 'acme')}`
  })

  afterEach(async () => {
    for (const stream of streams.splice(0)) stream.close()
    await nginx.stop()
    await Promise.all(inboxes.map((inbox) => inbox.stop()))
    await redis.stop()
  })

  async function open(headers: Record<string, string> = {}): Promise<SseClient> {
    const stream = await SseClient.open(`${nginx.url}/api/v1/sse/conversations`, { authorization, ...headers })
    streams.push(stream)
    await stream.control('sse.open')
    return stream
  }

  const openOn = (inbox: TestInbox): number => inbox.services.multiplexer.status().streams

  it('spreads streams over both, and passes each event on immediately', async () => {
    const all = await Promise.all(range(1, 10).map(() => open()))
    expect(inboxes.map(openOn)).to.deep.equal([5, 5])
    for (const n of range(1, 3)) {
      await inboxes[0].deliver('whatsapp', whatsAppPayload({ id: `wamid.${n}`, text: 'Hello' }))
      await Promise.all(all.map((stream) => stream.messagesUntil(n)))
    }
  })

  it('passes streams to the other process if one refuses them during its shutdown', async () => {
    const before = await open()
    const leaving = inboxes.find((inbox) => openOn(inbox) === 1) as TestInbox
    const other = inboxes.find((inbox) => inbox !== leaving) as TestInbox
    const closed = leaving.services.multiplexer.close({ windowMs: 1000 })
    await Promise.all(range(1, 5).map(() => open()))
    expect(openOn(other)).to.equal(5)
    await before.control('sse.reconnect')
    await closed
  })

  it("forwards the client's address, and ignores addresses that the client claims", async () => {
    const seen: unknown[] = []
    const record = (message: unknown): void => void seen.push((message as { ip?: string }).ip)
    subscribe(diagnostics.streamOpen, record)
    await open({ 'x-forwarded-for': '203.0.113.7' })
    unsubscribe(diagnostics.streamOpen, record)
    expect(seen).to.deep.equal(['127.0.0.1'])
  })

  it('does not forward to internal endpoints', async () => {
    for (const path of ['/metrics', '/healthz', '/readyz']) {
      expect((await fetch(`http://127.0.0.1:${inboxes[0].internalPort}${path}`)).status, path).to.equal(200)
      for (const written of [
        path,
        `${path}/`,
        `${path}?x`,
        path.toUpperCase(),
        path.replace('/m', '/M'),
        `/.${path}`,
      ]) {
        for (const { url } of [nginx, ...inboxes]) {
          const outside = await fetch(url + written)
          expect(outside.status, url + written).to.equal(404)
          expect(await outside.text(), written).to.contain('ERR_INBOX_NOT_FOUND')
        }
      }
    }
  })
})
