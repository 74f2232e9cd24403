import type { Pressure, PressureMember, ProcessPressure } from '../../lib/stream/pressure.js'

/** Exceeds `maxQueuedBytes` once: the pressure then lasts `sustainMs`. */
export function exceedQueuedBytes(pressure: Pressure): void {
  const member: PressureMember = { canPoll: false, shed: () => undefined, moveToPolling: () => undefined }
  const { hold } = pressure as ProcessPressure
  hold.call(pressure, member, Number.MAX_SAFE_INTEGER)
  hold.call(pressure, member, 0)
}
