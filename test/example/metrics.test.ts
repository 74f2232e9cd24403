import { expect } from 'chai'
import { eventually } from '../helpers/eventually.js'
import { range } from '../helpers/range.js'
import { RedisServer } from '../helpers/redis-server.js'
import type { SseClient } from '../helpers/sse-client.js'
import { Scrape } from '../observe/scrape.js'
import { TestInbox, whatsAppPayload } from './harness.js'

const MESSAGES = 30
const CONVERSATION = 'wa-106540352242922-16315551234'

/** Healthy, stalled, slow, paced, dropping, polling and limited clients of the example on a real Redis. */
describe("the example's metrics under mixed load", function () {
  this.timeout(60_000)

  let redis: RedisServer
  let inbox: TestInbox
  let first: Scrape
  const scrapes: Scrape[] = []

  before(async () => {
    redis = await RedisServer.start()
    inbox = await TestInbox.start({ redisUrl: redis.url })
    first = await scrape()
  })

  after(async () => {
    await inbox.stop()
    await redis.stop()
  })

  async function scrape(): Promise<Scrape> {
    const page = new Scrape((await inbox.call('GET', '/metrics')).text)
    scrapes.push(page)
    return page
  }

  /** Scrapes until the condition is met. */
  async function seen(condition: (page: Scrape) => boolean): Promise<void> {
    await eventually(async () => condition(await scrape()))
  }

  async function poll(token: string, cursor: string): Promise<{ events: unknown[]; cursor: string }> {
    const { body } = await inbox.call('GET', `/api/v1/sse/poll/conversations?cursor=${cursor}`, { token })
    return body as { events: unknown[]; cursor: string }
  }

  async function acknowledge(client: SseClient, token: string, buffer: number): Promise<void> {
    const { stream } = JSON.parse((await client.control('sse.open')).data) as { stream: string }
    const body = { stream, cursor: client.lastEventId, buffer, latencyMs: 5 }
    expect((await inbox.call('POST', '/api/v1/sse/ack', { token, body })).status).to.equal(204)
  }

  it('agree with the counts of the clients', async () => {
    const dana = await inbox.signIn('dana', 'acme')
    const mia = await inbox.signIn('mia', 'acme')
    const healthy = [await inbox.stream('/conversations', dana), await inbox.stream('/conversations', mia)] as const
    const heldBack = await inbox.stream('/conversations?window=5', dana)
    const stalled = await inbox.stream('/conversations', mia)
    stalled.pause()
    const { lastEventId: start } = healthy[0]
    // Each message is published to the list and to its conversation.
    for (const n of range(1, MESSAGES)) {
      await inbox.deliver('whatsapp', whatsAppPayload({ id: `wamid.${n}`, text: `Message ${n}` }))
    }
    await Promise.all([...healthy.map((client) => client.messagesUntil(MESSAGES)), heldBack.messagesUntil(5)])
    const lagging = await scrape()
    expect(lagging.value('sse_streams_open')).to.equal(4)
    expect(lagging.value('sse_streams_lagging')).to.equal(1)
    expect(lagging.value('sse_lag_events')).to.equal(MESSAGES - 5)

    let acknowledged = 0
    for (let got = 5; got < MESSAGES; got = heldBack.messages.length) {
      await acknowledge(heldBack, dana, 0.5)
      acknowledged++
      await heldBack.messagesUntil(Math.min(MESSAGES, got + 5))
    }
    const polled = await poll(dana, start)
    expect(polled.events).to.have.length(MESSAGES)
    stalled.resume()
    await stalled.messagesUntil(MESSAGES)

    healthy[0].close()
    await seen((page) => page.value('sse_streams_closed_total{reason="client_gone"}') === 1)
    const back = await inbox.stream('/conversations', dana, start)
    await back.messagesUntil(MESSAGES)

    const last = await scrape()
    const streams = [...healthy, heldBack, stalled, back]
    expect(last.value('sse_events_published_total')).to.equal(2 * MESSAGES)
    expect(last.value('sse_events_delivered_total{via="stream"}')).to.equal(
      streams.reduce((sum, { messages }) => sum + messages.length, 0),
    )
    expect(last.value('sse_events_delivered_total{via="poll"}')).to.equal(MESSAGES)
    expect(last.sum('sse_delivery_delay_seconds_count')).to.equal(streams.length * MESSAGES + MESSAGES)
    expect(last.value('sse_streams_opened_total')).to.equal(streams.length)
    expect(last.value('sse_streams_open')).to.equal(4)
    expect(last.value('sse_stream_leases')).to.equal(4)
    expect(last.value('sse_reconnects_total{cursor="header"}')).to.equal(1)
    expect(last.value('sse_acknowledgements_total')).to.equal(acknowledged)
    expect(last.value('sse_client_buffer_ratio_sum')).to.be.closeTo(0.5 * acknowledged, 1e-9)
    expect(last.value('sse_streams_lagging')).to.equal(0)
    expect(last.value('sse_retry_directives_total{at="open"}')).to.equal(streams.length)
  })

  it('count reads of histories, and refusals', async () => {
    const lee = await inbox.signIn('lee', 'acme')
    const path = `/api/v1/conversations/${CONVERSATION}/messages`
    const { cursor } = (await inbox.call('GET', path, { token: lee })).body as { cursor: string }
    const before = await scrape()
    await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.more', text: 'More' }))
    // No stream of this process has followed the channel, so only Redis has its events.
    await (await inbox.stream(`/messages/${CONVERSATION}`, lee, cursor)).messagesUntil(1)
    for (const _ of range(2, 20)) await inbox.stream('/conversations', lee)
    expect((await inbox.stream('/conversations', lee)).status).to.equal(429)
    const statuses: number[] = []
    for (const _ of range(1, 25)) {
      statuses.push((await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.x', text: 'x' }), 'wrong')).status)
    }
    const after = await scrape()
    const grown = (series: string): number => after.value(series) - before.value(series)
    expect(grown('sse_history_reads_total')).to.equal(1)
    expect(grown('sse_streams_opened_total')).to.equal(20)
    expect(grown('sse_streams_refused_total{code="ERR_SSE_STREAM_LIMIT"}')).to.equal(1)
    const refused = ['local', 'redis'].map((source) => decided(after, source, false) - decided(before, source, false))
    expect((refused[0] as number) + (refused[1] as number)).to.equal(statuses.filter((status) => status === 429).length)
    expect(statuses).to.include(401)
  })

  it("move with paced and dropping streams, such as the workbench's", async () => {
    const post = (path: string, body: unknown, method = 'POST') =>
      inbox.call(method, `/api/v1/workbench${path}`, { body })
    const pacing = { capacity: 1, refillPerSecond: 5 }
    await post('/clients', { name: 'Paced', pacing })
    await post('/clients', { name: 'Dropping', pacing, queuePolicy: 'drop-oldest', queueEvents: 5 })
    await post('/producer', { running: true, eventsPerSecond: 100 }, 'PATCH')
    await seen((page) => page.value('sse_events_dropped_total{reason="queue_full"}') > 0)
    await seen((page) => page.value('sse_queue_depth') > 0 && page.value('sse_queue_saturation_ratio') > 0.8)
    await seen((page) => page.value('sse_bucket_empty_total{scope="stream"}') > 0)
    await seen((page) => page.value('sse_tokens_consumed_total{cost="event"}') > 2)
    await post('/stop', undefined)
  })

  it('show that Redis is unavailable, the decisions without it, and its return', async () => {
    await redis.down()
    await seen((page) => page.value('sse_broker_state{state="degraded"}') === 1)
    // Without a token the request is limited by address.
    await eventually(async () => {
      const { status } = await inbox.call('GET', '/api/v1/dashboard/init')
      return status === 401 && decided(await scrape(), 'fail-open', true) > 0
    })
    await redis.up()
    await seen((page) => page.value('sse_broker_state{state="ready"}') === 1)
    // Redis restarted without its data.
    await seen((page) => page.value('sse_log_losses_total{reason="log_replaced"}') > 0)
  })

  it("have all changed, except those that only the kit's own tests can change", () => {
    const moved = new Set(scrapes.flatMap((page) => page.movedSince(first)))
    const still = [...first.types.keys()].filter((name) => name.startsWith('sse_') && !moved.has(name))
    expect(still).to.deep.equal(['sse_streams_full', 'sse_publish_failures_total', 'sse_pressure_level'])
  })
})

function decided(page: Scrape, source: string, admitted: boolean): number {
  return page.value(`sse_limiter_decisions_total{source="${source}",admitted="${admitted}"}`)
}
