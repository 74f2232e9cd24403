import { expect } from 'chai'
import { resolveHistoryOptions } from '../../lib/broker/options.js'
import { RedisCommands } from '../../lib/broker/redis/commands.js'
import type { PublishCall } from '../../lib/broker/redis/publish-calls.js'
import { diagnostics } from '../../lib/core/diagnostics.js'
import type { SseError } from '../../lib/core/errors.js'
import { systemClock } from '../../lib/core/system-clock.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { RedisServer } from '../helpers/redis-server.js'

describe('ephemeral events that waited before they are sent', () => {
  let redis: RedisServer
  let commands: RedisCommands

  before(async () => {
    redis = await RedisServer.start()
  })
  after(() => redis.stop())

  beforeEach(async () => {
    const limits = { ...resolveHistoryOptions({}), commandTimeoutMs: 5000, probeMs: 60_000 }
    const options = { redis: redis.url, prefix: 'sse:', otherConnections: () => [], ...limits }
    commands = new RedisCommands(options, systemClock)
    await commands.whenReady(5000)
  })
  afterEach(() => {
    redis.resume()
    commands.close()
  })

  /** Sends an event whose publish has 100 of its 5,000 ms left. @returns what happens to the call, in order */
  async function broadcast(): Promise<readonly string[]> {
    const events = [encodePublished({ data: 1, ephemeral: true })]
    const happened: string[] = []
    await new Promise<void>((settled) => {
      const call: PublishCall = {
        channel: 'a',
        retention: { historySize: 10, historyTtlMs: 1000 },
        events,
        bytes: 10,
        idempotencyKey: undefined,
        ends: false,
        deadline: systemClock.now() + 100,
        timeoutMs: 5000,
        resolve: ({ offset }) => happened.push(`offset ${offset}`),
        reject: ({ code, message }) => {
          happened.push(`${code}: ${message}`)
          redis.resume()
        },
        onSettled: () => {
          happened.push('settled')
          settled()
        },
      }
      commands.broadcast(call)
    })
    return happened
  }

  it('are sent', async () => {
    expect(await broadcast()).to.deep.equal(['offset 0', 'settled'])
  })

  it('fail with the time limit of the publish, not with the time that was left', async () => {
    const reports: { command: string; error?: SseError }[] = []
    const note = (message: unknown) => reports.push(message as (typeof reports)[0])
    diagnostics.brokerCommand.subscribe(note)
    redis.pause()
    const happened = await broadcast()
    diagnostics.brokerCommand.unsubscribe(note)
    expect(happened).to.deep.equal([
      'ERR_SSE_BROKER_TIMEOUT: Redis did not reply within 5000 ms; the command may have run',
      'settled',
    ])
    expect(reports.map(({ command, error }) => `${command} ${error?.code}`)).to.deep.equal([
      'broadcast ERR_SSE_BROKER_TIMEOUT',
    ])
  })
})
