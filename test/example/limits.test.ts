import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { expect } from 'chai'
import { eventually } from '../helpers/eventually.js'
import { TestInbox, whatsAppPayload } from './harness.js'

describe("the example's limits", () => {
  let inbox: TestInbox
  let dana: string
  let agent: Agent

  beforeEach(async () => {
    agent = new Agent({ keepAlive: true, maxSockets: 20 })
    inbox = await TestInbox.start()
    dana = await inbox.signIn('dana', 'acme')
  })

  afterEach(async () => {
    agent.destroy()
    await inbox.stop()
  })

  /** For hundreds of requests: it costs a fraction of `fetch`. */
  async function statusOf(headers: Record<string, string> = {}): Promise<number | undefined> {
    const [response] = (await once(request(inbox.url + path, { agent, headers }).end(), 'response')) as [
      IncomingMessage,
    ]
    await once(response.resume(), 'end')
    return response.statusCode
  }

  const path = '/api/v1/dashboard/init'
  const codeOf = ({ body }: { body: unknown }): unknown => (body as { code?: unknown } | null)?.code

  it('give each user 1,000 requests a minute, independent of others at the same address', async () => {
    const first = await inbox.call('GET', path, { token: dana })
    expect(first.headers.get('ratelimit-policy')).to.equal('"user";q=1000;w=60, "tenant";q=20000;w=60')
    expect(first.headers.get('ratelimit')).to.match(/^"user";r=999;t=\d+, "tenant";r=19999;t=\d+$/)
    const statuses: unknown[] = []
    // A new window may begin meanwhile. Then the requests exhaust two windows.
    for (let sent = 0; sent < 2500 && !statuses.includes(429); sent += 100) {
      const headers = { authorization: `Bearer ${dana}` }
      statuses.push(...(await Promise.all(Array.from({ length: 100 }, () => statusOf(headers)))))
    }
    expect(new Set(statuses)).to.deep.equal(new Set([200, 429]))
    const refused = await inbox.call('GET', path, { token: dana })
    expect(refused.body).to.include({ code: 'ERR_SSE_RATE_LIMITED', limit: 'user', points: 1000 })
    const mia = await inbox.signIn('mia', 'acme')
    expect((await inbox.call('GET', path, { token: mia })).status).to.equal(200)
  })

  it('give unauthenticated clients of an address 300 requests a minute', async () => {
    const statuses: unknown[] = []
    for (let sent = 0; sent < 900 && !statuses.includes(429); sent += 50) {
      statuses.push(...(await Promise.all(Array.from({ length: 50 }, () => statusOf()))))
    }
    expect(new Set(statuses)).to.deep.equal(new Set([401, 429]))
    expect((await inbox.call('GET', path, { token: dana })).status).to.equal(200)
  })

  it('give a user 20 streams', async () => {
    const streams = await Promise.all(Array.from({ length: 20 }, () => inbox.stream('/conversations', dana)))
    const refused = await inbox.call('GET', '/api/v1/sse/conversations', { token: dana })
    expect(refused.status).to.equal(429)
    expect(refused.body).to.include({ code: 'ERR_SSE_STREAM_LIMIT', scope: 'user', cap: 20 })
    streams[0]?.close()
    await eventually(async () => (await inbox.stream('/conversations', dana)).status === 200)
  })

  it('answer 20 wrong signatures of an address with 401 each minute, and accept every correct one', async () => {
    const statuses: number[] = []
    for (let n = 0; n < 45 && !statuses.includes(429); n++) {
      statuses.push((await inbox.deliver('whatsapp', {}, 'another secret')).status)
    }
    expect(new Set(statuses)).to.deep.equal(new Set([401, 429]))
    const good = await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.1', text: 'Hello' }))
    expect(good.status).to.equal(200)
  })

  it('answer 60 forged tokens of an address with 401 each minute, and accept every valid one', async () => {
    const statuses: number[] = []
    for (let n = 0; n < 130 && !statuses.includes(429); n++) {
      statuses.push((await inbox.call('GET', path, { token: 'forged' })).status)
    }
    expect(new Set(statuses)).to.deep.equal(new Set([401, 429]))
    expect((await inbox.call('GET', path, { token: dana })).status).to.equal(200)
  })

  it('apply to a signed-out token and its streams, or to all tokens of a user, in all processes', async () => {
    const other = await inbox.signIn('dana', 'acme')
    const [stream, otherStream] = [
      await inbox.stream('/conversations', dana),
      await inbox.stream('/conversations', other),
    ]
    expect((await inbox.call('POST', '/api/v1/auth/logout')).status).to.equal(401)
    expect((await inbox.call('POST', '/api/v1/auth/logout', { token: dana })).status).to.equal(204)
    expect(JSON.parse((await stream.control('sse.expired')).data)).to.deep.equal({ reason: 'revoked' })
    const refused = await inbox.call('GET', path, { token: dana })
    expect([refused.status, codeOf(refused)]).to.deep.equal([401, 'ERR_SSE_TOKEN_REVOKED'])
    expect((await inbox.call('GET', path, { token: other })).status).to.equal(200)
    await inbox.call('POST', '/api/v1/auth/logout', { token: other, body: { everywhere: true } })
    await otherStream.control('sse.expired')
    expect((await inbox.call('GET', path, { token: other })).status).to.equal(401)
  })

  it('open one stream with a ticket, whose token is in no URL', async () => {
    const { body } = await inbox.call('POST', '/api/v1/sse/tickets', {
      token: dana,
      body: { path: '/api/v1/sse/conversations' },
    })
    const { ticket } = body as { ticket: string }
    const stream = await inbox.stream(`/conversations?ticket=${ticket}`, '')
    expect(stream.status).to.equal(200)
    const again = await inbox.call('GET', `/api/v1/sse/conversations?ticket=${ticket}`)
    expect([again.status, codeOf(again)]).to.deep.equal([401, 'ERR_SSE_TICKET_INVALID'])
  })
})
