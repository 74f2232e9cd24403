import { expect } from 'chai'
import { Redis } from 'ioredis'
import type { SseEvent } from '../../lib/core/message.js'
import { eventually } from '../helpers/eventually.js'
import { range } from '../helpers/range.js'
import { RedisServer } from '../helpers/redis-server.js'
import { SseClient } from '../helpers/sse-client.js'
import { MixedSite } from './mixed-site.js'
import { Scrape } from './scrape.js'

const BULK = 'x'.repeat(64_000)

/**
 * Compares the metrics with the counts of the clients themselves: healthy, stalled, paced, dropping, polling,
 * acknowledging and limited clients, over HTTP and Redis.
 */
describe('metrics under mixed load', function () {
  this.timeout(60_000)

  let redis: RedisServer
  let site: MixedSite

  /** All clients, including closed ones. */
  const clients: SseClient[] = []
  const scrapes: Scrape[] = []
  const seen = { published: 0, polls: 0, polled: 0, gone: 0, acks: 0, buffers: 0, latencies: 0 }
  const statuses = { limited: [] as number[], open: [] as number[], closed: [] as number[] }
  const failures: string[] = []

  const scrape = async (): Promise<Scrape> => {
    const page = new Scrape(await (await fetch(`${site.url}/metrics`)).text())
    scrapes.push(page)
    return page
  }
  const open = async (path: string, headers: Record<string, string> = {}): Promise<SseClient> => {
    const client = await SseClient.open(`${site.url}${path}`, headers)
    if (client.status === 200) {
      clients.push(client)
      await client.control('sse.open')
    }
    return client
  }
  const leave = (client: SseClient): void => {
    client.close()
    seen.gone++
  }
  const publish = async (channel: string, events: readonly SseEvent[]): Promise<void> => {
    await site.multiplexer.publishMany(channel, events)
    seen.published += events.length
  }
  const poll = async (query: string): Promise<{ cursor: string }> => {
    const answer = await (await fetch(`${site.url}/poll?${query}`)).json()
    seen.polls++
    seen.polled += answer.events.length
    return answer
  }
  const acknowledge = async (client: SseClient, buffer: number, latencyMs: number): Promise<void> => {
    const { stream } = JSON.parse((await client.control('sse.open')).data)
    const body = JSON.stringify({ stream, cursor: client.lastEventId, buffer, latencyMs })
    expect((await fetch(`${site.url}/ack`, { method: 'POST', body })).status).to.equal(204)
    seen.acks++
    seen.buffers += buffer
    seen.latencies += latencyMs / 1000
  }
  const ask = async (path: keyof typeof statuses): Promise<void> => {
    statuses[path].push((await fetch(`${site.url}/${path}`)).status)
  }
  /** The number of lost events that a client was notified of. */
  const lostOf = (client: SseClient, reason?: string): number =>
    client.events
      .filter(({ event }) => event === 'sse.dropped')
      .map(({ data }) => JSON.parse(data) as { count: number; reason: string })
      .reduce((sum, drops) => sum + (reason === undefined || reason === drops.reason ? drops.count : 0), 0)
  const received = (some: readonly SseClient[]): number => some.reduce((sum, { messages }) => sum + messages.length, 0)

  let last: Scrape
  let byPacing: SseClient[]
  let calls: { kit: number; redis: number; scripts: number; scriptsInRedis: number }
  let queued: { scrape: Scrape; inspected: ReturnType<MixedSite['multiplexer']['inspect']>; leases: number }

  before(async () => {
    redis = await RedisServer.start()
    site = await MixedSite.start(redis.url)
    await run()
  })

  after(async () => {
    for (const client of clients) client.close()
    await site.stop()
    await redis.stop()
  })

  async function run(): Promise<void> {
    await scrape()
    const healthy = [await open('/events?channel=load'), await open('/events?channel=load')] as const
    const bulk = await open('/events?channel=bulk')
    const stalled = await open('/events?channel=bulk')
    const windowed = await open('/events?channel=load&window=10')
    const paced = await open('/paced')
    const dropping = await open('/dropping')
    expect((await open('/events?channel=load')).status, 'the eighth').to.equal(429)

    stalled.pause()
    for (const n of range(0, 39)) {
      await publish(
        'bulk',
        range(1, 8).map(() => ({ data: BULK })),
      )
      await bulk.messagesUntil(8 * n)
    }
    for (const n of range(0, 9)) {
      await publish(
        'load',
        range(1, 10).map((i) => ({ data: 10 * n + i })),
      )
    }
    await eventually(() => site.multiplexer.inspect().some(({ queued, tokens }) => queued > 0 && tokens !== undefined))
    // All in one tick.
    const inspected = site.multiplexer.inspect()
    const leases = site.streamLimits.size
    queued = { inspected, leases, scrape: new Scrape(await site.metrics.register.metrics()) }
    scrapes.push(queued.scrape)

    for (const n of range(1, 10)) {
      await windowed.messagesUntil(10 * n)
      await acknowledge(windowed, n / 10, 10 * n)
    }
    await poll('from=earliest')
    const waiting = poll(`cursor=${(await poll('from=earliest')).cursor}&wait=20000`)
    await publish('load', [{ data: 'late' }])
    await waiting
    await publish('load', [{ data: 'typing', ephemeral: true }])
    expect(site.multiplexer.offer('load', { data: 'offered' })).to.equal(true)
    seen.published++
    stalled.resume()
    await Promise.all([
      ...[...healthy, windowed, paced].map((client) => client.messagesUntil(103)),
      ...[bulk, stalled].map((client) => client.messagesUntil(320)),
      dropping.until((client) => client.messages.length + lostOf(client) === 103),
    ])

    for (const client of [...healthy, bulk, stalled]) leave(client)
    await eventually(() => site.multiplexer.status().streams === 3)
    const back = await open('/events?channel=load', { 'last-event-id': healthy[0].lastEventId })
    await open(`/events?channel=load&last_event_id=${healthy[1].lastEventId}`)
    for (const path of ['limited', 'open', 'closed'] as const) for (const _ of range(1, 5)) await ask(path)

    const pressing = await open('/pressing')
    await publish(
      'pressing',
      range(1, 12).map(() => ({ data: BULK })),
    )
    await eventually(() => site.multiplexer.pressure.level === 'pressed')
    expect((await open('/events?channel=load')).status, 'under pressure').to.equal(503)
    await pressing.until((client) => client.messages.length + lostOf(client) === 12)
    const client = new Redis(redis.url)
    const pressed = await scrape()
    const stats = await client.info('commandstats')
    const calledInRedis = (command: string): number =>
      Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0)
    const failedInRedis = Number(/cmdstat_evalsha:.*failed_calls=(\d+)/.exec(stats)?.[1])
    const called = (...commands: readonly string[]): number =>
      commands.reduce(
        (sum, command) => sum + pressed.value(`sse_redis_commands_total{command="${command}",outcome="ok"}`),
        0,
      )
    calls = {
      kit: called('publish'),
      // The first publication on a channel needs a second XADD, which creates the log.
      redis: calledInRedis('xadd') - (await client.keys('*:s')).length,
      scripts: called('publish', 'open', 'read', 'limit', 'lease'),
      scriptsInRedis: calledInRedis('evalsha') + calledInRedis('eval') - failedInRedis,
    }
    client.disconnect()

    await redis.kill()
    await eventually(() => site.multiplexer.status().state === 'degraded')
    await site.multiplexer.publish('load', { data: 'lost' }).catch(({ code }) => failures.push(code))
    await scrape()
    await redis.up()
    await back.control('sse.reset')
    byPacing = [paced, dropping, pressing]
    await site.multiplexer.close()
    await Promise.all(clients.map((each) => each.ended()))
    last = await scrape()
  }

  it('changes every metric', () => {
    const [first] = scrapes as [Scrape]
    const moved = new Set(scrapes.flatMap((each) => each.movedSince(first)))
    expect([...first.types.keys()].filter((name) => !moved.has(name))).to.deep.equal([])
  })

  it('has the same labels at the start and at the end, for any users, channels and addresses', () => {
    expect(last.series).to.deep.equal(scrapes[0]?.series)
  })

  it('counts the streams of the clients, how they opened and how they closed', () => {
    expect(last.value('sse_streams_opened_total')).to.equal(clients.length)
    expect(last.value('sse_streams_closed_total{reason="client_gone"}')).to.equal(seen.gone)
    expect(last.value('sse_streams_closed_total{reason="shutdown"}')).to.equal(clients.length - seen.gone)
    expect(last.sum('sse_streams_closed_total'), 'and one that was refused').to.equal(clients.length)
    expect(last.value('sse_streams_open')).to.equal(0)
    expect(last.value('sse_stream_age_seconds_count')).to.equal(clients.length)
    expect(last.value('sse_reconnects_total{cursor="header"}')).to.equal(1)
    expect(last.value('sse_reconnects_total{cursor="query"}')).to.equal(1)
    expect(last.value('sse_streams_refused_total{code="ERR_SSE_STREAM_LIMIT"}')).to.equal(1)
    expect(last.value('sse_streams_refused_total{code="ERR_SSE_OVERLOADED"}')).to.equal(1)
    const retries = clients.reduce((sum, { raw }) => sum + (raw.match(/^retry:/gm)?.length ?? 0), 0)
    expect(last.sum('sse_retry_directives_total')).to.equal(retries)
    expect(last.value('sse_retry_directives_total{at="open"}')).to.equal(clients.length)
  })

  it('counts the events that were published, that clients received, and whose loss was announced', () => {
    expect(last.value('sse_events_published_total')).to.equal(seen.published)
    expect(failures).to.have.length(1)
    expect(last.value(`sse_publish_failures_total{code="${failures[0]}"}`)).to.equal(1)
    expect(last.value('sse_events_delivered_total{via="stream"}')).to.equal(received(clients))
    expect(last.value('sse_events_delivered_total{via="poll"}')).to.equal(seen.polled)
    expect(last.value('sse_polls_total')).to.equal(seen.polls)
    for (const reason of ['queue_full', 'shed', 'coalesced', 'expired']) {
      const lost = clients.reduce((sum, client) => sum + lostOf(client, reason), 0)
      expect(last.value(`sse_events_dropped_total{reason="${reason}"}`), reason).to.equal(lost)
    }
    expect(last.value('sse_log_losses_total{reason="log_replaced"}')).to.be.at.least(1)
  })

  it('observes a delay for every event that was sent without waiting in a queue', () => {
    const delays = last.sum('sse_delivery_delay_seconds_count')
    const all = received(clients) + seen.polled
    const [, dropping, pressing] = byPacing as [SseClient, SseClient, SseClient]
    // One may be the paced client's ephemeral event, which is in no log and cannot be replayed.
    expect(delays).to.be.within(all - received([dropping, pressing]) - 1, all)
    expect(
      last.value('sse_delivery_delay_seconds_count{path="replay"}'),
      'stalled, paced, waiting for an ack',
    ).to.be.above(300)
    expect(last.sum('sse_delivery_delay_seconds_sum')).to.be.above(0)
  })

  it('observes what clients reported in acknowledgements', () => {
    expect(last.value('sse_acknowledgements_total')).to.equal(seen.acks)
    expect(last.value('sse_acknowledgement_delay_seconds_count')).to.equal(seen.acks)
    expect(last.value('sse_client_buffer_ratio_sum')).to.be.closeTo(seen.buffers, 1e-9)
    expect(last.value('sse_client_latency_seconds_sum')).to.be.closeTo(seen.latencies, 1e-9)
  })

  it('reports the same lag and queues as the multiplexer', () => {
    const { inspected, leases, scrape: page } = queued
    const total = (read: (status: (typeof inspected)[number]) => number): number =>
      inspected.reduce((sum, status) => sum + read(status), 0)
    expect(page.value('sse_streams_open')).to.equal(inspected.length)
    expect(page.value('sse_stream_leases')).to.equal(leases)
    expect(page.value('sse_lag_events')).to.equal(total(({ lag }) => lag))
    expect(page.value('sse_lag_events_max')).to.equal(Math.max(...inspected.map(({ lag }) => lag)))
    expect(page.value('sse_streams_lagging')).to.equal(inspected.filter(({ lag }) => lag > 0).length)
    expect(page.value('sse_streams_full')).to.equal(inspected.filter(({ full }) => full).length)
    expect(page.value('sse_queue_depth')).to.equal(total(({ queued: waiting }) => waiting))
    expect(page.value('sse_queue_bytes')).to.equal(total(({ queuedBytes }) => queuedBytes))
    expect(page.value('sse_queue_saturation_ratio')).to.equal(Math.max(...inspected.map((each) => each.queued / 8)))
    expect(page.value('sse_events_delivered_total{via="stream"}')).to.equal(total(({ sent }) => sent))
  })

  it('counts a token for each event of a paced stream, and for each byte', () => {
    expect(last.value('sse_tokens_consumed_total{cost="event"}')).to.equal(received(byPacing))
    expect(last.value('sse_tokens_consumed_total{cost="byte"}')).to.be.above(2 * BULK.length)
    expect(last.value('sse_bucket_empty_total{scope="stream"}')).to.be.above(1)
    expect(last.sum('sse_bucket_empty_total')).to.equal(last.value('sse_bucket_empty_total{scope="stream"}'))
  })

  it('counts the decisions of limiters, by source', () => {
    const decided = (source: string, admitted: boolean): number =>
      last.value(`sse_limiter_decisions_total{source="${source}",admitted="${admitted}"}`)
    const times = (given: readonly number[], status: number): number => given.filter((each) => each === status).length
    expect(statuses.limited).to.deep.equal([200, 200, 200, 429, 429])
    expect(decided('local', true) + decided('redis', true)).to.equal(times(statuses.limited, 200))
    expect(decided('fail-open', true)).to.equal(times(statuses.open, 200))
    // Above the local cap the process refuses without Redis.
    const refused = times([...statuses.limited, ...statuses.open], 429)
    expect(decided('local', false) + decided('redis', false)).to.equal(refused)
    expect(decided('fail-closed', false)).to.equal(times(statuses.closed, 503))
  })

  it('counts the same commands as Redis', () => {
    expect(calls.kit).to.equal(calls.redis)
    expect(calls.scripts).to.equal(calls.scriptsInRedis)
    expect(last.value('sse_redis_commands_total{command="limit",outcome="ok"}')).to.be.above(0)
    expect(last.value('sse_redis_commands_total{command="lease",outcome="ok"}')).to.be.at.least(clients.length)
    const reads = last.value('sse_redis_commands_total{command="read",outcome="ok"}')
    expect(last.value('sse_history_reads_total')).to.equal(reads)
    expect(last.value('sse_redis_commands_total{command="broadcast",outcome="ok"}')).to.equal(1)
    expect(last.value(`sse_redis_commands_total{command="publish",outcome="${failures[0]}"}`)).to.equal(1)
    expect(last.value('sse_redis_command_seconds_count')).to.equal(last.sum('sse_redis_commands_total'))
    const states = scrapes.map((each) => /sse_broker_state\{state="(\w+)"\} 1/.exec(each.text)?.[1])
    expect(states).to.include.members(['ready', 'degraded', 'closed'])
    const levels = scrapes.map((each) => /sse_pressure_level\{level="(\w+)"\} 1/.exec(each.text)?.[1])
    expect(levels).to.include.members(['none', 'pressed'])
  })
})
