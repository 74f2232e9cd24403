import type { History, Outcome, Position, Publication } from './history.js'

/** The codes of outcomes that are certainly not done. */
const NOT: ReadonlySet<string> = new Set(['ERR_SSE_BROKER_UNAVAILABLE', 'ERR_SSE_BROKER_REFUSED', 'ERR_SSE_CLOSED'])

/**
 * Publishes like an application, and records the outcome: with an idempotency key a failed publication is tried again,
 * up to three times.
 * @param attempt publishes; throws an error with the kit's code
 * @param pause between two attempts
 * @returns the positions; none unless the outcome is done
 */
export async function publishRecorded(
  history: History,
  publication: Publication,
  attempt: () => Promise<readonly Position[]>,
  pause: () => Promise<void>,
): Promise<readonly Position[]> {
  const call = history.publication(publication)
  let outcome: Outcome = 'not'
  let code = ''
  for (let tries = publication.idempotencyKey === undefined ? 1 : 3; tries > 0; tries--) {
    try {
      const positions = await attempt()
      history.settled(call, 'done', undefined, positions)
      return positions
    } catch (error) {
      code = (error as { code?: string }).code ?? `${error}`
      const isRefused = NOT.has(code) || (history.mayEnd && code === 'ERR_SSE_CHANNEL_ENDED')
      if (!isRefused) outcome = 'unknown'
      if (!isRefused && code !== 'ERR_SSE_BROKER_TIMEOUT') {
        history.violate(`${publication.by}: publish failed with ${code}: ${(error as Error).message}`)
      }
      if (code === 'ERR_SSE_CLOSED') break
      await pause()
    }
  }
  history.settled(call, outcome, code)
  return []
}
