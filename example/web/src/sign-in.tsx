import type { FormEvent, ReactNode } from 'react'
import { Logo } from './marks.js'

export interface SignInProps {
  readonly busy: boolean
  readonly error: string | undefined
  readonly onSubmit: (user: string, tenant: string) => void
}

export function SignIn({ busy, error, onSubmit }: SignInProps): ReactNode {
  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const fields = new FormData(event.currentTarget)
    onSubmit(String(fields.get('user')).trim(), String(fields.get('tenant')))
  }

  return (
    <main className="sign-in">
      <form className="card" onSubmit={submit} data-testid="sign-in">
        <Logo />
        <h1>Sign in to your inbox</h1>
        <p className="hint">A demo: any name will do, and there is no password.</p>
        <label>
          Your name
          <input
            name="user"
            autoComplete="username"
            autoCapitalize="none"
            spellCheck={false}
            required
            maxLength={64}
            pattern="\s*[A-Za-z0-9._\-]+\s*"
            title="Letters, digits, dot, hyphen and underscore"
            defaultValue="dana"
          />
        </label>
        <label>
          Company
          <select name="tenant" defaultValue="acme">
            <option value="acme">Acme Outdoor</option>
            <option value="globex">Globex Studio</option>
          </select>
        </label>
        {error !== undefined && (
          <p className="error" role="alert">
            {error}
          </p>
        )}
        <button type="submit" className="primary" disabled={busy}>
          {busy ? 'Signing in…' : 'Sign in'}
        </button>
      </form>
    </main>
  )
}
