/** A typical polling dashboard: four timers, each loads a complete list. 22 requests a minute, also without traffic. */
import type { StartSide } from './side.js'

const POLLS = { listMs: 5_000, threadMs: 10_000, channelsMs: 20_000, profileMs: 60_000 } as const

export const startPolling: StartSide = ({ api, conversationId, screen }) => {
  const timers: ReturnType<typeof setInterval>[] = []
  let stopped = false

  function every<Answer>(ms: number, load: () => Promise<Answer>, show: (answer: Answer) => void): void {
    const poll = async (): Promise<void> => {
      try {
        const answer = await load()
        if (stopped) return
        screen.trouble(undefined)
        show(answer)
      } catch (error) {
        // The next poll is the retry.
        if (!stopped) screen.trouble(error instanceof Error ? error.message : String(error))
      }
    }
    timers.push(setInterval(() => void poll(), ms))
    void poll()
  }

  every(POLLS.listMs, api.conversations, ({ items }) => screen.conversations(items))
  every(
    POLLS.threadMs,
    () => api.messages(conversationId),
    ({ items }) => screen.messages(items),
  )
  // The state of the channels and the profile: the example has one endpoint for both.
  every(POLLS.channelsMs, api.dashboard, () => undefined)
  every(POLLS.profileMs, api.dashboard, () => undefined)
  return () => {
    stopped = true
    for (const timer of timers) clearInterval(timer)
  }
}
