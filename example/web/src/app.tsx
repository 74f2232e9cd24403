/** Signed in or not. */
import { type ReactNode, useEffect, useState } from 'react'
import { Inbox } from './inbox.js'
import { restoreSession, type Session, signIn, signOut } from './session.js'
import { SignIn } from './sign-in.js'

export function App(): ReactNode {
  const [session, setSession] = useState<Session | undefined>(() => (linkedUser() ? undefined : restoreSession()))
  const [busy, setBusy] = useState(() => linkedUser() !== undefined)
  const [error, setError] = useState<string>()

  function enter(user: string, tenant: string): void {
    setBusy(true)
    setError(undefined)
    signIn(user, tenant)
      .then(setSession, (reason: unknown) => setError(reason instanceof Error ? reason.message : String(reason)))
      .finally(() => setBusy(false))
  }

  // biome-ignore lint/correctness/useExhaustiveDependencies: once, for the link that opened the page
  useEffect(() => {
    const linked = linkedUser()
    if (linked === undefined) return
    // The name has done its work: a reload or a bookmark should not sign in anew.
    history.replaceState(null, '', location.pathname + location.hash)
    enter(linked.user, linked.tenant)
  }, [])

  function leave(): void {
    signOut()
    history.replaceState(null, '', location.pathname)
    setSession(undefined)
  }

  if (session === undefined) return <SignIn busy={busy} error={error} onSubmit={enter} />
  return <Inbox key={`${session.tenant}/${session.user}`} session={session} onSignOut={leave} />
}

/** `?user=dana&tenant=acme` signs in directly. */
function linkedUser(): { readonly user: string; readonly tenant: string } | undefined {
  const query = new URLSearchParams(location.search)
  const user = query.get('user')
  return user ? { user, tenant: query.get('tenant') ?? 'acme' } : undefined
}
