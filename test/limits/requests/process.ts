/**
 * One process of a fleet: sends requests to its limiter as fast as possible, and reports when each admitted one was sent,
 * and when its admission was known.
 */
import { setImmediate as turn } from 'node:timers/promises'
import type { RateLimitOptions } from '../../../lib/limits/requests/options.js'
import { rateLimit } from '../../../lib/routers/rate-limit.js'
import { ask, request } from './support.js'

const { options, users, seconds }: { options: RateLimitOptions; users: number; seconds: number } = JSON.parse(
  process.argv[2] ?? '{}',
)
const limiter = rateLimit(options)
const requests = Array.from({ length: users }, (_, i) => request({ user: `user ${i}` }))

process.send?.('ready')
process.once('message', async () => {
  const admissions: [sent: number, known: number][][] = requests.map(() => [])
  const until = Date.now() + seconds * 1000
  while (Date.now() < until) {
    await Promise.all(
      requests.map(async (req, i) => {
        const sent = Date.now()
        const { admitted, at } = await ask(limiter, req)
        if (admitted) admissions[i]?.push([sent, at])
      }),
    )
    await turn()
  }
  await limiter.close()
  process.send?.(admissions)
  process.disconnect()
})
