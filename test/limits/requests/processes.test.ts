import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { expect } from 'chai'
import type { RateLimitOptions } from '../../../lib/limits/requests/options.js'
import { RedisServer } from '../../helpers/redis-server.js'
import { script } from '../../helpers/script.js'
import { overBucket } from './support.js'

const PROCESSES = 4
const USERS = 5

describe('request limits of four processes on one Redis', () => {
  let server: RedisServer
  const children: ChildProcess[] = []

  before(async () => {
    server = await RedisServer.start()
  })

  after(async () => {
    for (const child of children) child.kill('SIGKILL')
    await server.stop()
  })

  /** @returns when each user's admitted requests were sent, and when their admission was known, over all processes */
  async function hammer(options: RateLimitOptions, seconds: number): Promise<[sent: number, known: number][][]> {
    const all = { options: { redis: server.url, timeoutMs: 10_000, ...options }, users: USERS, seconds }
    const path = await script(new URL('process.ts', import.meta.url))
    const fleet = Array.from({ length: PROCESSES }, () => fork(path, [JSON.stringify(all)], { execArgv: [] }))
    children.push(...fleet)
    await Promise.all(fleet.map((child) => once(child, 'message')))
    const results = fleet.map((child) => once(child, 'message') as Promise<[[number, number][][]]>)
    for (const child of fleet) child.send('go')
    const perProcess = await Promise.all(results)
    await Promise.all(fleet.map((child) => child.exitCode ?? once(child, 'exit')))
    return Array.from({ length: USERS }, (_, user) =>
      perProcess.flatMap(([admissions]) => admissions[user] ?? []).sort(([, a], [, b]) => a - b),
    )
  }

  it('never admit more than their points in any window', async () => {
    const points = 200
    const users = await hammer({ by: 'user', points, duration: 1 }, 3)
    for (const admissions of users) {
      const windows = new Map<number, number>()
      for (const [sent, known] of admissions) {
        const window = Math.floor(known / 1000)
        // Otherwise it may have been admitted in either window.
        if (window === Math.floor(sent / 1000)) windows.set(window, (windows.get(window) ?? 0) + 1)
      }
      expect(windows.size).to.be.above(2)
      expect(Math.max(...windows.values())).to.be.at.most(points)
      expect(admissions.length).to.be.at.least(2 * points)
    }
  })

  it('never admit more than burst + refill × span from a token bucket, over any span', async () => {
    const [burst, perSecond] = [100, 50]
    const options = {
      by: 'user',
      points: burst,
      duration: 60,
      algorithm: 'token-bucket',
      refillPerSecond: perSecond,
    } as const
    for (const admissions of await hammer(options, 4)) {
      // On a busy machine an admission is recorded some ms late.
      expect(
        overBucket(
          admissions.map(([, known]) => known),
          { burst, perSecond },
        ),
      ).to.be.at.most(1)
      expect(admissions.length).to.be.above(burst)
    }
  })
})
