/**
 * A process that opens streams of one user and prints which of them end: `paused-holder.ts <redis url> <count>
 * <options>`.
 */
import { createStreamLimits } from '../../helpers/internals.js'
import { owner } from '../../suites/stream-limits.js'

const [redis = '', count, options = '{}'] = process.argv.slice(2)
const limits = createStreamLimits({ redis, ...JSON.parse(options) })
for (let index = 0; index < Number(count); index++) {
  await limits.acquire(owner('ada'), {
    id: `held${index}`,
    close: (reason) => process.stdout.write(`${reason} held${index}\n`),
  })
  // The order of streams is by ms.
  await new Promise((resolve) => setTimeout(resolve, 5))
}
process.stdout.write('held\n')
// The connection to Redis keeps the process alive.
